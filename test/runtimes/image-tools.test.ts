// podman, buildah and skopeo, which share one library for registries.
import { testRows } from './rows.ts'

for (const command of ['podman', 'buildah', 'skopeo'])
  testRows(command, [`${command}-path`, `${command}-port`])
