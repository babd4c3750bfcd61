// What is measured is what is shipped: builds the bundle of these very sources and says how to start it.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { runCommand } from '../harness/container-engines.ts'

const root = join(import.meta.dirname, '../..')
const bundle = join(root, 'dist', 'pantala.mjs')
/** As the launcher sets them. */
const flags = [
  '--disable-warning=ExperimentalWarning',
  '--max-semi-space-size=2',
  '--initial-heap-size=96',
  '--expose-gc',
]

const environment = ['MALLOC_ARENA_MAX=1', 'MALLOC_MMAP_THRESHOLD_=262144']

/** Builds `dist/`. */
export async function buildBundle(): Promise<void> {
  await runCommand(process.execPath, [join(root, 'scripts', 'build.ts')])
}

/** Command and first arguments of the bundled program, as its launcher has them; `nodeFlags` go before. @throws Error if it was not built */
export function bundledProgram(nodeFlags: readonly string[] = []): readonly string[] {
  if (!existsSync(bundle)) throw new Error('dist/ is not there; npm run build makes it')
  return ['/usr/bin/env', ...environment, process.execPath, ...flags, ...nodeFlags, bundle]
}
