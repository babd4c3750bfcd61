// JSON schemas of the supernode's HTTP API: they shape the answers and are what /api/docs shows.

const text = { type: 'string' } as const
const whole = { type: 'integer' } as const
const flag = { type: 'boolean' } as const
const object = <P extends Record<string, object>>(properties: P, optional: readonly string[] = []) => ({
  type: 'object',
  properties,
  required: Object.keys(properties).filter(name => !optional.includes(name)),
})

export const pageQuery = {
  type: 'object',
  additionalProperties: false,
  properties: {
    limit: { type: 'integer', minimum: 1, maximum: 1000, default: 100, description: 'Rows at most.' },
    after: { type: 'string', maxLength: 256, description: '`next` of the page before.' },
  },
} as const

export const errorSchema = object({ code: text, message: text, detail: text, hint: text }, ['detail'])

export const hostSchema = object(
  {
    id: { ...text, description: 'PeerId.' },
    name: text,
    zone: text,
    seed: flag,
    version: text,
    addresses: { type: 'array', items: text },
    uploadSlots: whole,
    slotsBusy: whole,
    children: { ...whole, description: 'Children sent to it that may still be at it.' },
    storeBytes: whole,
    seenMsAgo: whole,
    wanting: { ...whole, description: 'Tasks it is pulling.' },
    held: { ...whole, description: 'Tasks it holds whole.' },
  },
  ['zone'],
)

export const taskSchema = object(
  {
    digest: text,
    size: { ...whole, description: 'Bytes.' },
    pieceSize: { ...whole, description: 'Bytes.' },
    pieces: whole,
    hashed: { ...whole, description: 'Pieces whose hash is known.' },
    available: { ...whole, description: 'Pieces that some live host can give.' },
    owner: { ...text, description: 'PeerId of the supernode that owns it.' },
    registry: text,
    repository: text,
    wanting: { ...whole, description: 'Hosts pulling it.' },
    full: { ...whole, description: 'Hosts that hold all of it.' },
    partial: { ...whole, description: 'Hosts that hold some of it.' },
    sourceBytes: { ...whole, description: 'Fetched from the source since nobody last wanted it.' },
    grants: {
      type: 'array',
      items: object({ host: text, pieces: { ...whole, description: 'Granted and not landed.' } }),
    },
  },
  ['registry', 'repository', 'owner'],
)

export const hostsPage = object({ hosts: { type: 'array', items: hostSchema }, next: text }, ['next'])
export const tasksPage = object({ tasks: { type: 'array', items: taskSchema }, next: text }, ['next'])

export const statsSchema = object({
  hosts: whole,
  seeds: whole,
  tasks: whole,
  activeTasks: whole,
  registrations: whole,
  reports: whole,
  faults: whole,
  resets: whole,
  hashConflicts: whole,
  sourceBytes: { ...whole, description: 'Blob bytes hosts fetched from sources, since start.' },
  peerBytes: { ...whole, description: 'Blob bytes hosts got from each other, since start.' },
  supernodes: {
    type: 'array',
    items: object({ id: text, self: flag, activeTasks: whole }),
    description: 'All supernodes of the cluster, with the tasks known here that each owns.',
  },
  relay: object({ sourceRequests: whole, hits: whole, stale: whole }),
})

export const healthSchema = object({ ok: flag })
export const readySchema = object({ ready: flag, reasons: { type: 'array', items: text } })
