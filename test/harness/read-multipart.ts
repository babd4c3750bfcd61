// Takes a multipart body apart by RFC 2046, section 5.1: knows nothing of how ours is made.
import assert from 'node:assert/strict'

export interface ReadPart {
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

/** The parts in order. @throws AssertionError if it is not multipart/byteranges, or not ended as it must be */
export function readMultipart(contentType: string | undefined, body: Buffer): ReadPart[] {
  const boundary = /^multipart\/byteranges; boundary=([0-9A-Za-z'()+_,./:=?-]{1,70})$/.exec(
    contentType ?? '',
  )?.[1]
  assert.ok(boundary !== undefined, `not multipart: ${contentType}`)
  const text = body.toString('latin1')
  // The first boundary needs no line end before it.
  const [preamble, ...rest] = `\r\n${text}`.split(`\r\n--${boundary}`)
  assert.equal(preamble, '')
  assert.equal(rest.pop(), '--\r\n')
  return rest.map(part => {
    assert.ok(part.startsWith('\r\n'))
    const split = part.indexOf('\r\n\r\n')
    const headers = part
      .slice(2, split)
      .split('\r\n')
      .map(line => /^([^:]+): (.*)$/.exec(line)!)
      .map(([, name, value]) => [name!.toLowerCase(), value!] as const)
    return { headers: Object.fromEntries(headers), body: Buffer.from(part.slice(split + 4), 'latin1') }
  })
}
