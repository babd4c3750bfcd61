// A certificate authority for a test, made on the spot with openssl, and one server certificate for all the names that it is asked for.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { runCommand } from './container-engines.ts'

const days = '2'

/** Writes `ca.pem`, `ca.key`, `server.pem` (leaf, then CA) and `server.key` into the directory. Keys are P-256. */
export async function makeAuthority(directory: string, names: readonly string[]): Promise<void> {
  const at = (name: string) => join(directory, name)
  const openssl = (...args: string[]) => runCommand('openssl', args)
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  await writeFile(
    at('server.conf'),
    `[leaf]\nsubjectAltName=${names.map(name => `DNS:${name}`).join(',')}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n`,
  )
  const ca = ['-x509', '-days', days, '-subj', '/CN=Pantala test authority', '-keyout', at('ca.key')]
  await openssl('req', ...newKey, ...ca, '-addext', 'keyUsage=critical,keyCertSign', '-out', at('ca.pem'))
  const request = ['-subj', `/CN=${names[0]}`, '-keyout', at('server.key'), '-out', at('server.csr')]
  await openssl('req', '-new', ...newKey, ...request)
  const issuer = ['-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial', '-days', days]
  const extensions = ['-extfile', at('server.conf'), '-extensions', 'leaf']
  await openssl('x509', '-req', '-in', at('server.csr'), ...issuer, ...extensions, '-out', at('server.pem'))
}
