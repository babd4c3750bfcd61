// The matrix as the table of docs/runtimes.md. Pure.
import { type Auth, type Outcome, type Row, rowsOf, type WhenKilled, ways } from './matrix.ts'

const words = `What each row's test sees in the registry's own log. **Cold**: each byte of the image is sent once, to Pantala. **Warm**: no byte of a blob is sent. **Refused**: without
credentials and with wrong ones the pull fails, and no byte leaves the cache. **Down**: where the image comes from while no dfdaemon runs. HTTP and TLS are what the
registry speaks.
`

const asked: Readonly<Record<Auth, string>> = {
  anonymous: 'nothing',
  public: 'a token, which anybody gets',
  basic: 'Basic',
  token: 'a token',
}

export function renderMatrix(): string {
  const rows = ways.flatMap(rowsOf)
  const reasons = rows.flatMap(row => [reasonOf(row.up), reasonOf(row.down)]).filter(Boolean)
  const notes = [...new Set(reasons)]
  const note = (outcome: Outcome) => {
    const at = notes.indexOf(reasonOf(outcome))
    return at < 0 ? '' : ` (${at + 1})`
  }
  const render = ({ way, auth, scheme, up, down }: Row): string => {
    const told = `[${way.told}](../test/runtimes/${way.file})`
    const pulled = up.from === 'nowhere' ? 'fails' : `from ${up.from}`
    const [cold, warm] = up.from === 'Pantala' ? ['once', 'nothing'] : [`${pulled}${note(up)}`, pulled]
    const refused = auth === 'basic' || auth === 'token' ? 'yes' : '–'
    const fallback = down.from === 'nowhere' ? `fails${note(down)}` : `from ${down.from}`
    return `| ${[way.runtime, told, asked[auth], scheme, cold, warm, refused, fallback].join(' | ')} |`
  }
  const lines = [
    words,
    '| runtime | told by | registry asks for | over | cold | warm | refused | down |',
    '|---|---|---|---|---|---|---|---|',
    ...rows.map(render),
    '',
    ...notes.map((text, at) => `${at + 1}. ${text}`),
    '',
    ...renderKilled(),
  ]
  return `${lines.join('\n')}\n`
}

const killedWords: Readonly<Record<WhenKilled, string>> = {
  'goes on at the registry': 'asks the registry for the rest, at once: the pull works',
  'goes on after 5 s':
    'asks the dfdaemon for the rest after 5 s, and the pull works if that is back; if not, it tries for 75 s before it does as with the dfdaemon down',
  fails: 'the pull fails; the next one does as with the dfdaemon down',
}

function renderKilled(): string[] {
  const rows = ways.flatMap(({ runtime, told, killed }) =>
    killed === undefined ? [] : [`| ${runtime} | ${told} | ${killedWords[killed]} |`],
  )
  return [
    'And in [trouble](../test/runtimes/trouble.test.ts): while a registry sends a wrong byte, no image is completed; nothing of it is kept, so that the next pull has the right ones.',
    '',
    '| runtime | told by | dfdaemon killed while it sends |',
    '|---|---|---|',
    ...rows,
  ]
}

function reasonOf(outcome: Outcome): string | undefined {
  return 'why' in outcome ? outcome.why : undefined
}
