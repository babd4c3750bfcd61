// nginx before a registry, as clouds have it: blobs are not sent but redirected to object storage on another host, which refuses whoever shows
// credentials there. Both write down what they were asked.
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ServiceProcess } from '../../cli/demo/processes.ts'
import { findCommand } from './packages.ts'

export interface FrontOptions {
  /** Addresses to listen on, port 443 each. */
  readonly frontAddress: string
  readonly storageAddress: string
  /** What clients call the object storage. */
  readonly storageName: string
  /** Base URL of the registry behind, and where it keeps its blobs. */
  readonly registryUrl: string
  readonly storage: string
  /** PEM files. */
  readonly certificate: string
  readonly key: string
}

/** One request of the front's or of the object storage's. */
export interface FrontLine {
  readonly to: 'front' | 'storage'
  readonly method: string
  readonly path: string
  readonly status: number
  /** Bytes of body sent. */
  readonly bytes: number
  readonly userAgent: string
  readonly authorized: boolean
}

export class RedirectingFront {
  readonly #options: FrontOptions
  #directory = ''
  #process: ServiceProcess | undefined

  constructor(options: FrontOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    this.#directory = await mkdtemp(join(tmpdir(), 'pantala-front-'))
    const at = (name: string) => join(this.#directory, name)
    await writeFile(at('access.log'), '')
    await writeFile(at('nginx.conf'), nginxConfig(this.#directory, this.#options))
    this.#process = new ServiceProcess({
      name: 'nginx',
      command: findCommand('nginx') ?? 'nginx',
      args: ['-p', this.#directory, '-c', at('nginx.conf'), '-e', at('error.log')],
    })
    this.#process.start()
    // The pid file comes once the ports are open.
    const probe = async () => (await readFile(at('pid'), 'utf8')).trim() !== ''
    await this.#process.waitUntil(probe, { deadlineMs: 10_000 })
  }

  async stop(): Promise<void> {
    await this.#process?.stop(3_000)
    if (this.#directory !== '') await rm(this.#directory, { recursive: true, force: true })
  }

  /** What both were asked since the last look. */
  async takeLog(): Promise<FrontLine[]> {
    const file = join(this.#directory, 'access.log')
    const text = await readFile(file, 'utf8')
    await truncate(file)
    return text.split('\n').filter(Boolean).map(readLine)
  }
}

function readLine(line: string): FrontLine {
  const [to, method, path, status, bytes, authorized, userAgent] = line.split('\t') as string[]
  return {
    to: to === 'front' ? 'front' : 'storage',
    method: method!,
    path: path!,
    status: Number(status),
    bytes: Number(bytes),
    authorized: authorized !== '-',
    userAgent: userAgent!,
  }
}

function nginxConfig(directory: string, options: FrontOptions): string {
  const { frontAddress, storageAddress, storageName, registryUrl, storage, certificate, key } = options
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map(name => `${name}_temp_path ${directory}/${name};`)
    .join(' ')
  const fields = '$request_method\t$request_uri\t$status\t$body_bytes_sent\t$is_authorized\t$http_user_agent'
  const blob = '^/v2/.+/blobs/sha256:(?<two>[0-9a-f][0-9a-f])(?<rest>[0-9a-f]+)$'
  return `daemon off; worker_processes 1; pid ${directory}/pid; user root;
events {}
http {
  ${temporary}
  ssl_certificate ${certificate}; ssl_certificate_key ${key};
  map $http_authorization $is_authorized { "" "-"; default "yes"; }
  log_format front 'front\t${fields}'; log_format storage 'storage\t${fields}';
  client_max_body_size 0;
  server {
    listen ${frontAddress}:443 ssl;
    access_log ${directory}/access.log front;
    proxy_set_header Host $http_host;
    location / { proxy_pass ${registryUrl}; }
    location ~ "${blob}" {
      auth_request /asked;
      proxy_pass http://127.0.0.1:8090;
    }
    location = /asked { internal; proxy_method HEAD; proxy_pass_request_body off; proxy_pass ${registryUrl}$request_uri; }
  }
  server {
    listen 127.0.0.1:8090; access_log off;
    location ~ "${blob}" { return 307 https://${storageName}/$two/$two$rest/data?signature=of-the-front; }
  }
  server {
    listen ${storageAddress}:443 ssl;
    access_log ${directory}/access.log storage;
    root ${storage}/docker/registry/v2/blobs/sha256;
    if ($http_authorization) { return 400; }
    if ($arg_signature != of-the-front) { return 403; }
  }
}
`
}
