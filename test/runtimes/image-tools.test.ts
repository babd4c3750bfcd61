// podman, buildah and skopeo, which share one library for registries.
import { testRows } from './rows.ts'

testRows('podman-mirror')
testRows('buildah-mirror')
testRows('skopeo-mirror')
