// Credentials files as docker, podman and Kubernetes write them, and which entry stands for a place.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  CredentialsFault,
  findCredentials,
  readCredentials,
} from '../../shared/source/credentials/docker-config.ts'

const b64 = (text: string) => Buffer.from(text).toString('base64')
const basic = (text: string) => `Basic ${b64(text)}`
const config = (auths: object, more: object = {}) => JSON.stringify({ auths, ...more }, undefined, '\t')
const find = (auths: object, origin: string, repository = 'team/app') =>
  findCredentials(readCredentials(config(auths)), origin, repository)

test('reads auth, username and password, identity and registry tokens', () => {
  const entries: [object, string | undefined][] = [
    [{ auth: b64('al:pass:word') }, basic('al:pass:word')],
    [{ auth: b64('al:pw\0\0') }, basic('al:pw')],
    [{ username: 'al', password: 'pw', auth: b64('other:x') }, basic('al:pw')],
    [{ auth: b64('00000000-0000:'), identitytoken: 'refresh' }, basic('<token>:refresh')],
    [{ registrytoken: 'abc.def' }, 'Bearer abc.def'],
    [{}, undefined],
  ]
  for (const [entry, header] of entries)
    assert.equal(find({ 'reg.lab': entry }, 'https://reg.lab'), header, JSON.stringify(entry))
})

test('keys are hosts, with or without scheme, port and path; Docker Hub has many names', () => {
  const auth = { auth: b64('u:p') }
  const fits: [string, string][] = [
    ['https://index.docker.io/v1/', 'https://registry-1.docker.io'],
    ['docker.io', 'https://registry-1.docker.io'],
    ['reg.lab', 'https://reg.lab'],
    ['REG.lab:443', 'https://reg.lab'],
    ['https://reg.lab:5000/v2/', 'https://reg.lab:5000'],
    ['reg.lab:5000/team', 'http://reg.lab:5000'],
    ['reg.lab', 'http://reg.lab'],
    ['[::1]:5000', 'http://[::1]:5000'],
    ['*.azurecr.io', 'https://mine.azurecr.io'],
    ['my-*.re*on.lab', 'https://my-own.region.lab'],
  ]
  for (const [key, origin] of fits) assert.equal(find({ [key]: auth }, origin), basic('u:p'), key)
  const misses: [string, string][] = [
    ['reg.lab', 'https://reg.lab:5000'],
    ['reg.lab:5000', 'https://reg.lab'],
    ['reg.lab', 'https://evil-reg.lab'],
    ['reg.lab', 'https://reg.lab.evil.example'],
    ['reg.lab', 'https://a.reg.lab'],
    ['reg.lab/te', 'https://reg.lab'],
    ['reg.lab/team/app/more', 'https://reg.lab'],
    ['*.azurecr.io', 'https://a.b.azurecr.io'],
    ['*', 'https://reg.lab'],
    ['user@reg.lab', 'https://user'],
    ['', 'https://reg.lab'],
  ]
  for (const [key, origin] of misses) assert.equal(find({ [key]: auth }, origin), undefined, key)
})

test('the longest path wins, and a plain host over a pattern', () => {
  const auths = {
    'reg.lab': { auth: b64('host:p') },
    'reg.lab/team/app': { auth: b64('app:p') },
    'reg.lab/team': { auth: b64('team:p') },
    '*.lab': { auth: b64('pattern:p') },
  }
  assert.equal(find(auths, 'https://reg.lab', 'team/app'), basic('app:p'))
  assert.equal(find(auths, 'https://reg.lab', 'team/apple'), basic('team:p'))
  assert.equal(find(auths, 'https://reg.lab', 'other'), basic('host:p'))
  assert.equal(find(auths, 'https://two.lab', 'team'), basic('pattern:p'))
})

test('reads Kubernetes pull secrets, as JSON, as YAML, and of the older kind', () => {
  const inner = config({ 'reg.lab': { auth: b64('u:p') } })
  const secrets = [
    JSON.stringify({ kind: 'Secret', data: { '.dockerconfigjson': b64(inner) } }),
    `apiVersion: v1\nkind: Secret\ntype: kubernetes.io/dockerconfigjson\ndata:\n  .dockerconfigjson: ${b64(inner)}\n`,
    `kind: Secret\nstringData:\n  .dockerconfigjson: |\n    ${inner.replaceAll('\n', '\n    ')}\n`,
    JSON.stringify({
      kind: 'Secret',
      data: { '.dockercfg': b64(JSON.stringify({ 'reg.lab': { username: 'u', password: 'p' } })) },
    }),
  ]
  for (const secret of secrets)
    assert.equal(findCredentials(readCredentials(secret), 'https://reg.lab', 'a'), basic('u:p'), secret)
})

test('refuses helpers and what is no such file, and tells no content', () => {
  const nested = JSON.stringify({ kind: 'Secret', data: { '.dockerconfigjson': b64('{"auths":{}}') } })
  const wrong: [string, RegExp][] = [
    [config({}, { credsStore: 'desktop' }), /credsStore names programs/],
    [config({}, { credHelpers: { 'x.lab': 'ecr-login' } }), /credHelpers names programs/],
    ['', /neither a docker config/],
    ['hush: [', /neither JSON nor YAML/],
    ['[1]', /neither a docker config/],
    ['{"hush": 1}', /no auths/],
    ['{"kind":"Secret","data":{"hush":"x"}}', /has neither/],
    [config({ 'reg.lab': 'hush' }), /"reg\.lab" is no map/],
    [config({ 'reg.lab': { auth: b64('hush') } }), /"reg\.lab" has an auth/],
    [config({ 'reg.lab': { registrytoken: 'hush\nhush' } }), /registrytoken/],
    ['a: &a [hush]\nauths: *a\n', /neither JSON nor YAML/],
    [
      JSON.stringify({
        kind: 'Secret',
        stringData: {
          '.dockerconfigjson': JSON.stringify({
            kind: 'Secret',
            stringData: { '.dockerconfigjson': nested },
          }),
        },
      }),
      /a Secret inside/,
    ],
  ]
  for (const [text, told] of wrong)
    assert.throws(
      () => readCredentials(text),
      error =>
        error instanceof CredentialsFault && told.test(error.message) && !/hush|aHVzaA/.test(error.message),
      text,
    )
  // Empty ones are what docker leaves behind.
  assert.deepEqual(readCredentials(config({}, { credHelpers: {}, credsStore: '' })), [])
})
