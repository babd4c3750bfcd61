// hosts.toml comes to name Pantala first; other hosts, `server`, comments, line ends and certificates beside it keep their effect.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { planHosts } from '../../cli/setup/runtimes/hosts-toml.ts'
import { contentOf, dfdaemonUrl as url, viewOf } from '../harness/setup-root.ts'

const directory = '/etc/containerd/certs.d'
const path = `${directory}/registry.lab:5000/hosts.toml`
const wish = {
  directory,
  registry: { name: 'registry.lab:5000' },
  dfdaemon: url,
  runtime: 'containerd',
} as const
const block = `# The Pantala dfdaemon of this host; put here by \`pantala setup containerd\`, taken out by its --undo.
[host."${url}"]
  capabilities = ["pull", "resolve"]
`
const edit = (text: string): string => {
  const file = planHosts(viewOf({ [path]: text }), wish)
  return file === undefined ? text : contentOf(file)!
}

test('a file of others keeps all it says, behind Pantala', () => {
  for (const [before, after] of [
    ['', block],
    ['# empty\n', `# empty\n${block}`],
    ['server = "https://registry.lab:5000"\n', `server = "https://registry.lab:5000"\n\n${block}`],
    ['server = "https://registry.lab:5000"', `server = "https://registry.lab:5000"\n\n${block}`],
    [
      'server = "https://registry.lab:5000"\n\n[host."https://mirror.lab"]\n  capabilities = ["pull"]\n',
      `server = "https://registry.lab:5000"\n\n${block}\n[host."https://mirror.lab"]\n  capabilities = ["pull"]\n`,
    ],
    [
      '# of the site\nserver = "http://registry.lab:5000" # plain\n\n# the mirror\n# of ours\n[host."https://mirror.lab".header]\n  x = "y"\n',
      `# of the site\nserver = "http://registry.lab:5000" # plain\n\n${block}\n# the mirror\n# of ours\n[host."https://mirror.lab".header]\n  x = "y"\n`,
    ],
    ['\uFEFF# top\n[host."https://m"]\n', `\uFEFF${block}\n# top\n[host."https://m"]\n`],
    ['[host]\n  [host."https://m"]\n', `${block}\n[host]\n  [host."https://m"]\n`],
  ] as const) {
    assert.equal(edit(before), after)
    assert.equal(edit(after), after, 'a second time changes nothing')
    const crlf = (text: string): string => text.replaceAll('\n', '\r\n')
    if (before.includes('\n')) assert.equal(edit(crlf(before)), crlf(after))
  }
})

test('for every registry it is _default; what is not known of a registry is not said', () => {
  const file = planHosts(viewOf({}), { ...wish, registry: undefined })
  assert.equal(file?.path, `${directory}/_default/hosts.toml`)
  assert.equal(contentOf(file), block)
})

test('plain HTTP is said where the registry was named so, or containerd would fall back to TLS', () => {
  const file = planHosts(viewOf({}), { ...wish, registry: { name: 'registry.lab:5000', scheme: 'http' } })
  assert.equal(contentOf(file), `server = "http://registry.lab:5000"\n\n${block}`)
})

test('the directory that containerd looks at first is the one', () => {
  const view = viewOf({ [`${directory}/registry.lab_5000_/hosts.toml`]: '', [path]: '' })
  assert.equal(planHosts(view, wish)?.path, `${directory}/registry.lab_5000_/hosts.toml`)
})

test('certificates in Docker’s layout go on to count', () => {
  const view = viewOf({ [`${directory}/registry.lab:5000/ca.crt`]: 'x' })
  assert.equal(contentOf(planHosts(view, wish)), `ca = ["ca.crt"]\n\n${block}`)
})

test('Pantala being there already, but not first or not for all, is left to people', () => {
  assert.throws(() => edit(`[host."https://m"]\n[host."${url}"]\n`), {
    code: 'SETUP_CONFLICT',
    message: /behind others/,
  })
  assert.throws(() => edit(`[host."${url}"]\ncapabilities = ["pull"]\n`), {
    code: 'SETUP_CONFLICT',
    message: /not for both/,
  })
  const known = `[host."${url}/"]\n`
  assert.equal(edit(known), known)
})

test('hosts written so that ours could not come first are refused', () => {
  assert.throws(() => edit('host = { "https://m" = { capabilities = ["pull"] } }\n'), {
    code: 'SETUP_CONFLICT',
  })
  assert.throws(() => edit('host."https://m".capabilities = ["pull"]\n'), {
    code: 'SETUP_CONFLICT',
    message: /hosts\.toml:1: .*come first whatever follows/,
  })
})

test('broken TOML is refused by file, line and column', () => {
  assert.throws(() => edit('server = "x"\n[host."a"\n'), {
    code: 'SETUP_CONFIG_INVALID',
    message: /hosts\.toml:2:\d+: /,
  })
})
