// Child processes of the demo: output kept, deaths explained, and nothing left behind when the parent dies.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findFreePorts, readLogLine, ServiceProcess } from '../../cli/demo/processes.ts'

const idle = 'setInterval(() => {}, 1000)'

function node(code: string, options: { leash?: boolean; onLine?: (line: string) => void } = {}) {
  return new ServiceProcess({ name: 'child', command: process.execPath, args: ['-e', code], ...options })
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test('a service that ends before it is ready is explained by its last lines', async () => {
  const child = node('console.error("no disk"); process.exit(3)')
  child.start()
  await assert.rejects(
    child.waitUntil(async () => false, { deadlineMs: 10_000 }),
    /child ended before it was ready \(exit code 3\)[\s\S]*no disk/,
  )
})

test('a command that does not exist is explained too', async () => {
  const child = new ServiceProcess({ name: 'ghost', command: '/nonexistent/ghost', args: [] })
  child.start()
  await assert.rejects(
    child.waitUntil(async () => false, { deadlineMs: 10_000 }),
    /ENOENT/,
  )
})

test('stopping asks first and kills when the grace is over', async () => {
  let ready = false
  const child = node(`process.on('SIGTERM', () => {}); console.log('up'); ${idle}`, {
    onLine: () => {
      ready = true
    },
  })
  child.start()
  await child.waitUntil(async () => ready, { deadlineMs: 10_000 })
  assert.deepEqual(await child.stop(100), { code: null, signal: 'SIGKILL' })
})

test('a leashed child ends when its parent is killed', async () => {
  const module = JSON.stringify(new URL('../../cli/demo/processes.ts', import.meta.url).href)
  const middle = `
    import(${module}).then(({ ServiceProcess }) => {
      const child = new ServiceProcess({ name: 'leaf', command: process.execPath, args: ['-e', ${JSON.stringify(idle)}], leash: true })
      child.start()
      console.log(child.pid)
    })`
  let leaf = 0
  const parent = node(middle, {
    onLine: line => {
      leaf = Number(line)
    },
  })
  parent.start()
  await parent.waitUntil(async () => leaf > 0 && isAlive(leaf), { deadlineMs: 10_000 })
  parent.signal('SIGKILL')
  const until = performance.now() + 5_000
  while (isAlive(leaf) && performance.now() < until) await new Promise(resolve => setTimeout(resolve, 20))
  assert.ok(!isAlive(leaf), 'the leaf outlived its parent')
})

test('log lines are told in short, other lines as they are', () => {
  assert.equal(
    readLogLine('{"level":50,"time":1,"pid":2,"hostname":"h","msg":"no","err":{"message":"why"},"port":3}'),
    'ERROR no (why) {"port":3}',
  )
  assert.equal(readLogLine('plain'), 'plain')
  assert.equal(readLogLine('{broken'), '{broken')
})

test('free ports are all different, and none that the kernel would give to a connection before it is used', async () => {
  const ports = await findFreePorts(20)
  assert.equal(new Set(ports).size, 20)
  for (const port of ports) assert.ok(port >= 1024 && port < 30_000, `port ${port}`)
})
