// Runs the pantala command as a user would, in a process of its own.
import { execFile } from 'node:child_process'
import { join } from 'node:path'

export interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

const command = join(import.meta.dirname, '../../cli/pantala')

export function runPantala(words: readonly string[], environment: Record<string, string> = {}): Promise<Ran> {
  return new Promise(resolve => {
    const options = { env: { ...process.env, ...environment }, timeout: 60_000, maxBuffer: 16 * 1024 * 1024 }
    execFile(command, words, options, (error, out, err) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
      resolve({ code, out, err })
    })
  })
}
