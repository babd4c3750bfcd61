// Runs the tests of real runtimes in a network, mount and process namespace of their own, so that nothing they start outlives them or
// reaches another machine. Without the rights for that they run as they are, and say what they skip.
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeLab, namespaceCommand } from '../harness/lab-network.ts'
import { findCommand } from '../harness/packages.ts'

const insideFlag = '--inside'
const [first, ...rest] = process.argv.slice(2)

if (first === insideFlag) await runInside(rest)
else {
  const asked = first === undefined ? [] : [first, ...rest]
  const canMake = process.getuid?.() === 0 && ['unshare', 'ip', 'openssl'].every(findCommand)
  process.exitCode = canMake ? await runOutside(asked) : await runTests(asked, {})
}

async function runOutside(asked: readonly string[]): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), 'pantala-lab-'))
  try {
    const own = [process.execPath, ...process.execArgv, import.meta.filename, insideFlag, directory, ...asked]
    const [command, ...args] = [...namespaceCommand, ...own] as [string, ...string[]]
    const child = spawn(command, args, { stdio: ['pipe', 'inherit', 'inherit'] })
    // The first process inside ends with its input, and the namespace with it, however this process ends.
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.stdin.end())
    return await codeOf(child)
  } finally {
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  }
}

async function runInside([directory, ...asked]: readonly string[]): Promise<never> {
  for (const event of ['end', 'close', 'error']) process.stdin.once(event, () => process.exit(1))
  process.stdin.resume()
  const env = await makeLab(directory!)
  // Short, since podman's runroot under it must have at most 50 characters.
  const temporary = join(directory!, 't')
  mkdirSync(temporary)
  // The first process of the namespace ends it, whatever may still be running.
  process.exit(await runTests(asked, { ...env, TMPDIR: temporary }))
}

function runTests(asked: readonly string[], env: Record<string, string>): Promise<number> {
  const options = ['--disable-warning=ExperimentalWarning', '--test', '--test-concurrency=1']
  const files = asked.length > 0 ? asked : [join(import.meta.dirname, '*.test.ts')]
  const args = [...options, '--test-timeout=600000', ...files]
  const stdio = ['ignore', 'inherit', 'inherit'] as const
  return codeOf(spawn(process.execPath, args, { stdio: [...stdio], env: { ...process.env, ...env } }))
}

function codeOf(child: ReturnType<typeof spawn>): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', code => resolve(code ?? 1))
  })
}
