// A directory that goes with its test.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

export async function makeTestDirectory(t: TestContext, name: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), `pantala-${name}-`))
  t.after(() => rm(directory, { recursive: true, force: true, maxRetries: 3 }))
  return directory
}
