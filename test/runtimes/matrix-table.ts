// The matrix as the table of docs/runtimes.md. Pure.
import { type Row, rowsOf, type Way, ways } from './matrix.ts'

const words = `What each row's test sees at the registry's own log. **Cold**: each byte of the image is sent once, to Pantala. **Warm**: no byte of a blob is sent. **Refused**: without
credentials and with wrong ones the pull fails, and no byte leaves the cache. **Down**: where the image comes from while no dfdaemon runs. HTTP and TLS are what the
registry speaks; between runtime and dfdaemon it is loopback.
`

export function renderMatrix(): string {
  const notes = [...new Set(ways.flatMap(why))]
  const lines = [
    words,
    '| runtime | told by | registry asks for | over | cold | warm | refused | down |',
    '|---|---|---|---|---|---|---|---|',
    ...ways.flatMap(way => rowsOf(way).map(renderRow)),
  ]
  return `${[...lines, '', ...notes.map((note, at) => `${at + 1}. ${note}`)].join('\n')}\n`

  function renderRow(row: Row): string {
    const { way, auth, scheme } = row
    const asks = auth === 'anonymous' ? 'nothing' : auth === 'basic' ? 'Basic' : 'a token'
    const told = `[${way.told}](../test/runtimes/${way.file})`
    const cells =
      row.closed === undefined
        ? ['once', 'nothing', auth === 'anonymous' ? '–' : 'yes', renderDown(row)]
        : ['–', '–', '–', `does not apply ${noteOf(row.closed)}`]
    return `| ${[way.runtime, told, asks, scheme, ...cells].join(' | ')} |`
  }

  function renderDown({ down }: Row): string {
    return down.to === 'nothing'
      ? `fails ${noteOf(down.why)}`
      : `from ${down.to === 'registry' ? 'the registry' : down.to}`
  }

  function noteOf(text: string): string {
    return `(${notes.indexOf(text) + 1})`
  }
}

/** Reasons that the way's rows give. */
function why(way: Way): string[] {
  return rowsOf(way).flatMap(({ closed, down }) =>
    closed !== undefined ? [closed] : down.to === 'nothing' ? [down.why] : [],
  )
}
