// Which puller each way of the matrix is.
import { startCri, startDefault, startNamed } from './containerd-puller.ts'
import { startByName, startMirror } from './docker-puller.ts'
import { startTool } from './image-tools-puller.ts'
import type { PullerStart } from './puller.ts'

const pullers: Readonly<Record<string, PullerStart>> = {
  'docker-mirror': startMirror,
  'docker-name': startByName,
  'ctr-named': startNamed,
  'ctr-default': startDefault,
  cri: startCri,
  'podman-mirror': startTool('podman'),
  'buildah-mirror': startTool('buildah'),
  'skopeo-mirror': startTool('skopeo'),
}

/** @throws TypeError for a way that none is made for */
export function findPuller(id: string): PullerStart {
  const found = pullers[id]
  if (found === undefined) throw new TypeError(`no puller is made for ${id}`)
  return found
}
