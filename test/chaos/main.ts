// `npm run test:chaos`: starts a cluster in containers, breaks it in every way there is while images are pulled, and reports. All of it runs in
// network, mount and process namespaces of its own, so that nothing it starts outlives it or touches the machine's network.
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { namespaceCommand } from '../harness/lab-network.ts'
import { findCommand } from '../harness/packages.ts'
import { readWish, usage } from './wish.ts'

const insideFlag = '--inside'
const needed = ['dockerd', 'docker', 'docker-compose', 'docker-registry', 'iptables', 'ip', 'unshare', 'ldd']

const [first, ...rest] = process.argv.slice(2)
process.exitCode = first === insideFlag ? await runInside(rest) : await runOutside(process.argv.slice(2))

async function runOutside(asked: readonly string[]): Promise<number> {
  const wish = readWish(asked)
  if (typeof wish === 'string') {
    process.stderr.write(`${wish}\n${usage}`)
    return 2
  }
  if (wish.help) {
    process.stdout.write(usage)
    return 0
  }
  const missing = needed.filter(command => findCommand(command) === undefined)
  if (missing.length > 0 || process.getuid?.() !== 0) {
    const why = missing.length > 0 ? `${missing.join(', ')} not found` : 'needs root'
    process.stderr.write(
      `SKIP test:chaos: ${why} (packages docker.io docker-compose docker-registry iptables)\n`,
    )
    return process.env['CI'] === 'true' ? 1 : 0
  }
  const directory = mkdtempSync(join(tmpdir(), 'pantala-chaos-'))
  try {
    const own = [process.execPath, ...process.execArgv, import.meta.filename, insideFlag, directory, ...asked]
    const [command, ...args] = [...namespaceCommand, ...own] as [string, ...string[]]
    const child = spawn(command, args, { stdio: ['pipe', 'inherit', 'inherit'] })
    // The first process inside ends with its input, and the namespace with it, however this process ends.
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.stdin.end())
    return await new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', code => resolve(code ?? 1))
    })
  } finally {
    rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
    removeGroups(basename(directory))
  }
}

async function runInside([directory, ...asked]: readonly string[]): Promise<number> {
  process.stdin.resume().once('close', () => process.exit(1))
  const { runChaos } = await import('./run.ts')
  const wish = readWish(asked)
  if (typeof wish === 'string') throw new Error(wish)
  const code = await runChaos(wish, directory!)
  process.stdin.removeAllListeners('close').destroy()
  return code
}

/** Control groups of containers stay when their processes are gone; these are empty, and under a name of our own. */
function removeGroups(name: string): void {
  const removeTree = (path: string): void => {
    for (const item of readdirSync(path, { withFileTypes: true }))
      if (item.isDirectory()) removeTree(join(path, item.name))
    rmdirSync(path)
  }
  const top = '/sys/fs/cgroup'
  for (const controller of ['.', ...readdirSync(top)]) {
    try {
      removeTree(join(top, controller, name))
    } catch {
      // Not every controller has it.
    }
  }
}
