// Reads the cluster secret from where the configuration says.
import { readFile } from 'node:fs/promises'
import { PantalaError } from '../errors.ts'

/** The secret; undefined if the cluster has none. @throws PantalaError CONFIG_INVALID if both are set, or the file can't be read or is empty */
export async function readClusterSecret(cluster: {
  readonly secret?: string
  readonly secretFile?: string
}): Promise<string | undefined> {
  const { secret, secretFile } = cluster
  if (secretFile === undefined) return secret
  if (secret !== undefined) {
    throw new PantalaError('CONFIG_INVALID', { detail: 'cluster.secret and cluster.secretFile are both set' })
  }
  const text = await readFile(secretFile, 'utf8').catch(error => {
    throw new PantalaError('CONFIG_INVALID', {
      detail: `cluster.secretFile ${secretFile}: ${error.code}`,
      cause: error,
    })
  })
  if (text.trim() === '')
    throw new PantalaError('CONFIG_INVALID', { detail: `cluster.secretFile ${secretFile} is empty` })
  return text.trim()
}
