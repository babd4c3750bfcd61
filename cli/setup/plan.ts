// What a runtime's configuration should become: the contract between those who know a runtime and those who write files.
import type { TextEdit } from './text/text-edits.ts'

/** Runtimes that can be set up. */
export const runtimeNames = ['docker', 'containerd', 'crio', 'podman'] as const
export type RuntimeName = (typeof runtimeNames)[number]

/** A registry named on the command line. */
export interface NamedRegistry {
  /** host or host:port, lower case; docker.io for all names of Docker Hub. */
  readonly name: string
  /** Given where it was written as a URL; plain HTTP is never assumed. */
  readonly scheme?: 'http' | 'https'
  /** Its own address of the dfdaemon, if it has one; scheme, host and port. */
  readonly dfdaemon?: string
}

/** What was asked for. */
export interface SetupOptions {
  /** The dfdaemon's proxy: scheme, host and port. */
  readonly dfdaemon: string
  readonly registries: readonly NamedRegistry[]
  /** docker: the dfdaemon as HTTP(S) proxy, at this URL. */
  readonly proxy?: string
  /** docker: write registry-mirrors. */
  readonly mirrors: boolean
  /** docker: images are kept by containerd, so hosts.toml files are read. */
  readonly containerdStore?: boolean
  /** docker with proxy: the certificate of Pantala's own authority, as PEM text. */
  readonly caPem?: string
  /** The runtime's main configuration file, if it is elsewhere. */
  readonly config?: string
}

/** What makes a change count: nothing, a reload or a restart of the runtime, or a restart after systemd read its files again. */
export const activations = ['nothing', 'reload', 'restart', 'daemon-restart'] as const
export type Activation = (typeof activations)[number]

/** One file that is to change. */
export interface PlannedFile {
  readonly path: string
  /** How a changed file is read when Pantala's part is to be taken out of it; `whole` is all Pantala's. */
  readonly format: 'json' | 'toml' | 'whole'
  /** Undefined: it is not there yet. */
  readonly before: string | undefined
  readonly edits: readonly TextEdit[]
  readonly activation: Activation
  /** For taking it back, where that needs something else. */
  readonly undoActivation?: Activation
}

export interface Plan {
  readonly files: readonly PlannedFile[]
  /** What people should know, a sentence or two each. */
  readonly notes: readonly string[]
}

/** The files as they would be without Pantala. Paths are those the runtime knows, whatever root they lie under. */
export interface ConfigView {
  /** Undefined if there is no such file. @throws PantalaError SETUP_CONFIG_INVALID for what is no readable text file */
  read(path: string): string | undefined
  /** Names in a directory, sorted; empty if it is not there. */
  list(directory: string): readonly string[]
}
