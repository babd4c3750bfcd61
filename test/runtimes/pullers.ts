// Which puller each way of the matrix is.
import { startCri, startDefault, startNamed } from './containerd-puller.ts'
import { startByName, startMirror, startOwnPort, startProxied } from './docker-puller.ts'
import { startTool } from './image-tools-puller.ts'
import type { PullerStart } from './puller.ts'

const pullers: Readonly<Record<string, PullerStart>> = {
  'docker-mirror': startMirror,
  'docker-name': startByName,
  'docker-port': startOwnPort,
  'docker-proxy': startProxied,
  'ctr-named': startNamed,
  'ctr-default': startDefault,
  cri: startCri,
  'podman-path': startTool('podman', 'path'),
  'podman-port': startTool('podman', 'port'),
  'buildah-path': startTool('buildah', 'path'),
  'buildah-port': startTool('buildah', 'port'),
  'skopeo-path': startTool('skopeo', 'path'),
  'skopeo-port': startTool('skopeo', 'port'),
}

/** @throws TypeError for a way that none is made for */
export function findPuller(id: string): PullerStart {
  const found = pullers[id]
  if (found === undefined) throw new TypeError(`no puller is made for ${id}`)
  return found
}
