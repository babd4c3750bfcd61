// `pantala demo`: reads its options; the demo itself is in ../demo.
import { type Command, InvalidArgumentError } from 'commander'
import { onStopSignal } from './stop-signal.ts'

/** Hosts a demo may have; each is a process. */
const HOSTS_MAX = 64

export function addDemoCommand(program: Command, setExitCode: (code: number) => void): void {
  program
    .command('demo')
    .description('run a cluster on this machine: every host pulls the same image at once')
    .option('--hosts <count>', `how many hosts, 1 to ${HOSTS_MAX}`, readHosts, 4)
    .option('--json', 'print one JSON object instead of a table')
    .action(async ({ hosts, json }: { hosts: number; json?: true }) => {
      const { runDemo } = await import('../demo/command.ts')
      const stop = onStopSignal()
      try {
        setExitCode(
          await runDemo(
            { hosts, json: json === true },
            { out: process.stdout, err: process.stderr },
            stop.signal,
          ),
        )
      } finally {
        stop.release()
      }
    })
}

function readHosts(text: string): number {
  const hosts = Number(text)
  if (!Number.isInteger(hosts) || hosts < 1 || hosts > HOSTS_MAX) {
    throw new InvalidArgumentError(`It must be a whole number from 1 to ${HOSTS_MAX}.`)
  }
  return hosts
}
