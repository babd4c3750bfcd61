// Makes a service's data directory, and says clearly why it can't be used.
import { mkdir, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { PantalaError } from './errors.ts'

/**
 * Makes the directory and those above it, readable by its owner only.
 *
 * Level by level rather than by Node's recursive way, which never ends where a file system refuses a directory with ENOENT although the one
 * above is there, as /proc does.
 * @throws PantalaError DATA_DIR_UNUSABLE
 */
export async function makeDataDir(dataDir: string): Promise<void> {
  try {
    await makeLevel(resolve(dataDir))
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new PantalaError('DATA_DIR_UNUSABLE', { detail: `${dataDir}: ${code ?? message}`, cause: error })
  }
}

async function makeLevel(directory: string): Promise<void> {
  const found = await stat(directory).catch(error => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (found?.isDirectory()) return
  if (found !== undefined) throw new Error('it is there, and is no directory')
  if (dirname(directory) !== directory) await makeLevel(dirname(directory))
  await mkdir(directory, { mode: 0o700 }).catch(error => {
    if (error.code !== 'EEXIST') throw error
  })
}
