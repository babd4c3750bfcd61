// Limits and times of the scheduler, units in their names; docs/scheduling.md says what they are for.

/** How long pieces that only a lost host held are not granted again, in ms: it may come straight back. */
export const LOST_GRACE_MS = 500
/** How long a grantee may go without landing a piece, in ms. */
export const GRANT_STALL_MS = 20_000
/** A grantee that lands nothing and says nothing for this long is asked for a sign of life, in ms. */
export const PROBE_AFTER_MS = 500
/** One that crosses zones for others, and of whom nothing is heard for this long, is asked, too, in ms. */
export const GATEWAY_QUIET_MS = 2000
/** A host that was asked for a sign of life and gives none for this long is lost, in ms. */
export const PROBE_MS = 1250
/** Sweeps further apart than this, in ms, say that the supernode itself was held up. */
export const PROBE_HELD_UP_MS = 600
/** Times that a task's hashes may be withdrawn and the blob fetched anew while somebody wants it; after that it fails for all who do. */
export const RESETS_MAX = 2
/** Tasks known at a time, and of them those that one host may pull or hold in part, and hold whole. */
export const TASKS_MAX = 200_000
export const HOST_PEERS_MAX = 4096
export const HOST_HELD_MAX = 100_000
/** A task that nobody holds or wants is forgotten after this, in ms. */
export const TASK_IDLE_MS = 24 * 60 * 60_000
/** Tasks looked at for forgetting in one sweep. */
export const SWEEP_TASKS_MAX = 64
/** Children looked at in one sweep, and of them those for whom parents are chosen. */
export const SWEEP_CHILDREN_MAX = 1500
export const SWEEP_CHOICES_MAX = 300
