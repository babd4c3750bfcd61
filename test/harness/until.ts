// Waits for a condition that no event tells of, with a deadline.

/** Resolves once `condition` holds; looked at every few ms. @throws Error with the condition's text after `deadlineMs` */
export async function until(condition: () => boolean, deadlineMs = 10_000): Promise<void> {
  const end = performance.now() + deadlineMs
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within ${deadlineMs} ms: ${condition}`)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}
