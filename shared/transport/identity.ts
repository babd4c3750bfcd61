// A host's identity: an Ed25519 key in a file that only its owner can read, made when absent.
import { randomBytes } from 'node:crypto'
import { chmod, link, mkdir, open, readFile, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from '@libp2p/crypto/keys'
import type { PrivateKey } from '@libp2p/interface'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { PantalaError, toPantalaError } from '../errors.ts'

const KEY_FILE_BYTES_MAX = 4096

/**
 * Reads the key in `file`, or makes one (mode 0600, its folder 0700) if there is none. Two processes that start at once end up with the same key.
 * @throws PantalaError DATA_DIR_UNUSABLE if the file cannot be read, made, or is not an Ed25519 key
 */
export async function loadIdentity(file: string): Promise<PrivateKey> {
  try {
    return (await readKey(file)) ?? (await makeKey(file))
  } catch (error) {
    throw toPantalaError(
      error,
      'DATA_DIR_UNUSABLE',
      `identity file ${file}: ${error instanceof Error ? error.message : String(error)}`,
    )
  }
}

/** The PeerId that goes with the key in `file`, which is made if there is none. @throws PantalaError DATA_DIR_UNUSABLE */
export async function loadPeerId(file: string): Promise<string> {
  return peerIdFromPrivateKey(await loadIdentity(file)).toString()
}

/** A key that lives only as long as the process, for tests and the demo. */
export function generateIdentity(): Promise<PrivateKey> {
  return generateKeyPair('Ed25519')
}

async function readKey(file: string): Promise<PrivateKey | undefined> {
  let bytes: Buffer
  try {
    const { size, mode } = await stat(file)
    if (size > KEY_FILE_BYTES_MAX)
      throw new PantalaError('DATA_DIR_UNUSABLE', { detail: `${file} is no key` })
    if ((mode & 0o077) !== 0) await chmod(file, 0o600)
    bytes = await readFile(file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  const key = privateKeyFromProtobuf(bytes)
  if (key.type !== 'Ed25519')
    throw new PantalaError('DATA_DIR_UNUSABLE', { detail: `${file} holds a ${key.type} key, not Ed25519` })
  return key
}

async function makeKey(file: string): Promise<PrivateKey> {
  const key = await generateKeyPair('Ed25519')
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  // Written aside and linked into place: a reader never sees half a key, and the first of two makers wins.
  const aside = `${file}.${randomBytes(6).toString('hex')}`
  const handle = await open(aside, 'wx', 0o600)
  try {
    await handle.writeFile(privateKeyToProtobuf(key))
    await handle.sync()
  } finally {
    await handle.close()
  }
  try {
    await link(aside, file)
    return key
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    const theirs = await readKey(file)
    if (theirs === undefined) throw error
    return theirs
  } finally {
    await rm(aside, { force: true })
  }
}
