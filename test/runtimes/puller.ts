// A runtime under test as the rows see it: pulls, says what it holds, forgets it.
import type { HostSettings } from '../../cli/demo/cluster.ts'
import type { Credentials, Lab, LabImage } from './lab.ts'

/** A runtime that was told of one host's dfdaemon. */
export interface Puller {
  /** Pulls with these credentials alone. @throws Error with the runtime's words */
  pull(image: LabImage, credentials: Credentials | undefined): Promise<unknown>
  /** Digests of all that the runtime holds, sorted. */
  held(): Promise<readonly string[]>
  /** What `held` must be if it holds the image and nothing else. */
  expected(image: LabImage): readonly string[]
  /** Removes all images, so that the next pull asks for everything. */
  clear(): Promise<unknown>
}

/** How a way's runtime is had. */
export interface PullerStart {
  /** Commands it needs. */
  readonly commands: readonly string[]
  /** What the dfdaemons must be told for it. */
  readonly dfdaemonSettings?: (host: number) => HostSettings
  /** Starts one that was told of that host's dfdaemon, and has it stopped after the test. */
  start(lab: Lab, host: number): Promise<Puller>
}
