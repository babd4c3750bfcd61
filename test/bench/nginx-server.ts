// nginx with one worker and sendfile, serving a directory on a free port: the baseline of what a file server costs.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findFreePorts, ServiceProcess } from '../../cli/demo/processes.ts'
import { findCommand } from '../harness/packages.ts'

export class NginxServer {
  #process: ServiceProcess | undefined
  #directory = ''
  #port = 0

  /** True if nginx is installed. */
  static get isThere(): boolean {
    return findCommand('nginx') !== undefined
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  get pid(): number {
    return this.#process!.pid!
  }

  /** @throws Error if nginx is missing or fails */
  async start(root: string): Promise<void> {
    this.#directory = await mkdtemp(join(tmpdir(), 'pantala-nginx-'))
    this.#port = (await findFreePorts(1))[0]!
    const config = join(this.#directory, 'nginx.conf')
    await writeFile(config, nginxConfig(this.#directory, root, this.#port))
    this.#process = new ServiceProcess({
      name: 'nginx',
      command: findCommand('nginx') ?? 'nginx',
      args: ['-p', this.#directory, '-c', config, '-e', join(this.#directory, 'error.log')],
    })
    this.#process.start()
    // Any answer will do.
    const probe = async () => (await fetch(this.url)).status > 0
    await this.#process.waitUntil(probe, { deadlineMs: 10_000 })
  }

  async stop(): Promise<void> {
    await this.#process?.stop(3_000)
    await rm(this.#directory, { recursive: true, force: true })
  }
}

export function nginxConfig(directory: string, root: string, port: number): string {
  return `daemon off; worker_processes 1; pid ${directory}/pid; user root;
events { worker_connections 4096; }
http { access_log off; sendfile on; keepalive_requests 1000000; root ${root}; client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy; fastcgi_temp_path ${directory}/fastcgi; uwsgi_temp_path ${directory}/uwsgi; scgi_temp_path ${directory}/scgi;
  server { listen 127.0.0.1:${port}; } }
`
}
