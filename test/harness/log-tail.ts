// Keeps the last log lines of everything a test started, to be shown only if it fails.
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { readLogLine } from '../../cli/demo/processes.ts'
import type { Logger } from '../../shared/logger.ts'

const linesMax = 300

export class LogTail {
  readonly #lines: string[] = []

  /** A logger whose lines carry `part`. PANTALA_TEST_LOG sets its level. */
  logger(part: string): Logger {
    const sink = new Writable({
      write: (chunk, _encoding, done) => {
        for (const line of String(chunk).trimEnd().split('\n')) this.note(line)
        done()
      },
    })
    return pino({ level: process.env['PANTALA_TEST_LOG'] ?? 'debug', base: { part } }, sink)
  }

  note(line: string): void {
    this.#lines.push(line)
    if (this.#lines.length > linesMax) this.#lines.shift()
  }

  /** The last lines, for people. */
  lines(): string[] {
    return this.#lines.map(readLogLine)
  }
}
