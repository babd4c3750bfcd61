// dockerd behind dfdaemon as a proxy: the drop-in, what other drop-ins and daemon.json say of proxies, and trust for intercepted hosts.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { planDocker } from '../../cli/setup/runtimes/docker.ts'
import { contentOf, plainOptions, dfdaemonUrl as url, viewOf } from '../harness/setup-root.ts'

const dropIn = '/etc/systemd/system/docker.service.d/pantala-proxy.conf'
const proxied = { ...plainOptions, mirrors: false, proxy: url }

test('the drop-in names the proxy for both schemes and leaves this machine out', () => {
  const { files } = planDocker(viewOf({}), proxied)
  assert.deepEqual(
    files.map(file => [file.path, file.activation]),
    [[dropIn, 'daemon-restart']],
  )
  assert.equal(
    contentOf(files[0]),
    `# Written by \`pantala setup docker --proxy\`; its --undo takes it away.
[Service]
Environment="HTTP_PROXY=${url}"
Environment="HTTPS_PROXY=${url}"
Environment="NO_PROXY=localhost,127.0.0.0/8,::1"
`,
  )
})

test('what was never proxied stays so, and the old proxy is pointed out without its password', () => {
  const view = viewOf({
    '/etc/systemd/system/docker.service.d/http-proxy.conf': `[Service]
Environment="HTTPS_PROXY=http://user:hunter2@proxy.corp:3128" \\
  "NO_PROXY=.corp,127.0.0.0/8,10.0.0.0/8"
`,
  })
  const { files, notes } = planDocker(view, proxied)
  assert.match(
    contentOf(files[0])!,
    /^Environment="NO_PROXY=\.corp,127\.0\.0\.0\/8,10\.0\.0\.0\/8,localhost,::1"$/m,
  )
  assert.match(notes.join('\n'), /http-proxy\.conf:2 has a HTTPS_PROXY of its own/)
  assert.doesNotMatch(notes.join('\n'), /hunter2/)
})

test('a drop-in or file of variables that systemd takes after ours stands against it', () => {
  const later: Record<string, string>[] = [
    { '/etc/systemd/system/docker.service.d/zz.conf': '[Service]\nEnvironment=HTTP_PROXY=http://a\n' },
    {
      '/lib/systemd/system/docker.service': '[Service]\nEnvironmentFile=-/etc/default/docker\n',
      '/etc/default/docker': 'http_proxy=http://a\n',
    },
  ]
  for (const files of later) {
    assert.throws(() => planDocker(viewOf(files), proxied), {
      code: 'SETUP_CONFLICT',
      message: /sets HTTP_PROXY and would win/,
    })
  }
})

test('where daemon.json has proxies, those count for dockerd and are set instead', () => {
  const before =
    '{\n  "proxies": {\n    "http-proxy": "http://proxy.corp:3128",\n    "no-proxy": ".corp"\n  }\n}\n'
  const { files } = planDocker(viewOf({ '/etc/docker/daemon.json': before }), proxied)
  assert.deepEqual(
    files.map(file => [file.path, file.activation]),
    [['/etc/docker/daemon.json', 'restart']],
  )
  assert.equal(
    contentOf(files[0]),
    `{
  "proxies": {
    "http-proxy": "${url}",
    "no-proxy": ".corp,localhost,127.0.0.0/8,::1",
    "https-proxy": "${url}"
  }
}
`,
  )
})

test('intercepted hosts are trusted by a copy of the authority’s certificate; Docker Hub has no such place', () => {
  const { files } = planDocker(viewOf({}), {
    ...proxied,
    registries: [{ name: 'registry.lab:5000' }, { name: 'docker.io' }],
    caPem: 'PEM\n',
  })
  assert.deepEqual(
    files.map(file => file.path),
    [dropIn, '/etc/docker/certs.d/registry.lab:5000/pantala.crt'],
  )
  assert.equal(contentOf(files[1]), 'PEM\n')
})

test('with the image store of containerd, hosts.toml names the certificates beside it, which would not be looked at else', () => {
  const view = viewOf({
    '/etc/docker/certs.d/registry.lab/ca.crt': 'x',
    '/etc/docker/certs.d/registry.lab/me.cert': 'x',
    '/etc/docker/certs.d/registry.lab/me.key': 'x',
  })
  const { files } = planDocker(view, {
    ...proxied,
    containerdStore: true,
    registries: [{ name: 'registry.lab' }],
    caPem: 'PEM\n',
  })
  const hosts = contentOf(files.find(file => file.path.endsWith('hosts.toml')))
  assert.match(
    hosts!,
    /^ca = \["ca\.crt", "\/etc\/docker\/certs\.d\/registry\.lab\/pantala\.crt"\]\nclient = \[\["me\.cert", "me\.key"\]\]\n\n#/,
  )
})

test('a registry over plain HTTP needs no trust, nor does hosts.toml name any for it', () => {
  const { files } = planDocker(viewOf({}), {
    ...proxied,
    containerdStore: true,
    registries: [{ name: 'plain.lab', scheme: 'http' }, { name: 'registry.lab' }],
    caPem: 'PEM\n',
  })
  const hosts = contentOf(files.find(file => file.path.endsWith('plain.lab/hosts.toml')))
  assert.doesNotMatch(hosts!, /\.crt/)
  assert.equal(files.filter(file => file.path.endsWith('pantala.crt')).length, 1)
})

test('proxies that are no object are refused by place', () => {
  const view = viewOf({ '/etc/docker/daemon.json': '{\n  "proxies": null\n}' })
  assert.throws(() => planDocker(view, proxied), {
    code: 'SETUP_CONFIG_INVALID',
    message: /daemon\.json:2:14/,
  })
})

test('it is said that a proxy leaves no way round', () => {
  assert.match(
    planDocker(viewOf({}), proxied).notes.join('\n'),
    /with the dfdaemon down, every pull .* fails/,
  )
})
