// Runs one of the bench's own programs in a Node of its own and takes the JSON it prints last.
import { execFile } from 'node:child_process'

/** @throws Error with what was printed if it fails */
export function runNode<T>(
  program: string,
  args: readonly string[],
  flags: readonly string[] = [],
): Promise<T> {
  const all = ['--disable-warning=ExperimentalWarning', ...flags, program, ...args]
  return new Promise((resolve, reject) => {
    execFile(process.execPath, all, { maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (error !== null) reject(new Error(`${stderr}${stdout}`.trim() || error.message, { cause: error }))
      else resolve(JSON.parse(stdout.trim().split('\n').at(-1)!) as T)
    })
  })
}
