// What a test may want to know of the dashboard: each function reads the page
// as it is, or does something and waits until the page shows the answer.

// read returns the rows of a table, each cell under the name of its column.
export const read = (page, id) =>
  page.locator(`#${id} tr`).evaluateAll((rows) => rows.map((row) => {
    const columns = [...row.closest('table').tHead.rows[0].cells].map((cell) => cell.innerText)
    return Object.fromEntries([...row.cells].map((cell, i) => [columns[i], cell.innerText]))
  }))

// redrawn acts, and waits until every row of a table is a new one.
export async function redrawn(page, id, act) {
  await page.locator(`#${id} tr`).evaluateAll((rows) => rows.forEach((row) => { row.dataset.old = '' }))
  await act()
  await page.locator(`#${id} tr:not([data-old])`).first().waitFor()
}

export const notes = (page) =>
  page.locator('[id$=-note]:visible').evaluateAll((all) => Object.fromEntries(all.map((e) => [e.id, e.innerText])))

export const overview = async (page) => ({
  status: await page.locator('#status').innerText(),
  asks: await page.locator('#key').isVisible(),
  key: await page.locator('#key').inputValue(),
  board: await page.locator('#board').isVisible(),
  text: await page.locator('main').innerText(),
  focus: await page.evaluate(() => document.activeElement.id),
})

// kept is everything that outlives the page's script, of the page and of its browser.
export const kept = async (page) => ({
  session: await page.evaluate(() => ({ ...sessionStorage })),
  local: await page.evaluate(() => ({ ...localStorage })),
  databases: await page.evaluate(async () => (await indexedDB.databases()).length + (await caches.keys()).length),
  cookies: await page.context().cookies(),
  url: page.url(),
  history: await page.evaluate(() => ({ entries: history.length, state: history.state, name: window.name })),
})

// overflow is by how many CSS pixels the page is wider than the window, and
// what sticks out of the window or of itself: only a scroll box's content may.
export const overflow = (page) => page.evaluate(() => {
  const { scrollWidth, clientWidth } = document.documentElement
  const wide = [...document.querySelectorAll('main, main *, header, header *')].filter((e) =>
    e.checkVisibility() && !e.closest('.scroll') &&
    (e.getBoundingClientRect().right > clientWidth || (e.clientWidth > 0 && e.scrollWidth > e.clientWidth && !e.matches('input, select'))))
  return { pixels: scrollWidth - clientWidth, elements: wide.map((e) => e.outerHTML.slice(0, 120)) }
})

// controls are the elements that a mouse can use: the keyboard must get to each.
const controls = 'a[href], button:enabled, input:enabled, select:enabled, summary, [tabindex="0"]'

// walk presses Tab once around the page, and tells which controls it did not
// get to, and which do not show that they have the focus.
export async function walk(page) {
  await page.evaluate((controls) => {
    document.activeElement.blur()
    for (const e of document.querySelectorAll(controls)) if (e.checkVisibility()) e.dataset.control = ''
  }, controls)
  const count = await page.locator('[data-control]').count()
  const unseen = []
  for (let i = 0; i <= count; i++) { // one more: the browser's own controls may come first
    await page.keyboard.press('Tab')
    unseen.push(await page.evaluate(() => {
      const e = document.activeElement
      delete e.dataset.control
      const { outlineStyle, outlineWidth } = getComputedStyle(e)
      return e !== document.body && (outlineStyle === 'none' || outlineWidth === '0px') ? e.outerHTML.slice(0, 120) : ''
    }))
  }
  const unreached = await page.locator('[data-control]').evaluateAll((all) => all.map((e) => e.outerHTML.slice(0, 120)))
  return { count, unreached, unseen: unseen.filter(Boolean) }
}

// named are the controls as a screen reader tells of them: role and name.
export async function named(page) {
  const cdp = await page.context().newCDPSession(page)
  const { nodes } = await cdp.send('Accessibility.getFullAXTree')
  await cdp.detach()
  const roles = ['textbox', 'button', 'checkbox', 'combobox', 'link', 'region', 'table']
  return nodes.filter((n) => !n.ignored && roles.includes(n.role?.value))
    .map((n) => ({ role: n.role.value, name: n.name?.value ?? '' }))
}

// faults are the rules of WCAG 2.2 A and AA that the page breaks, as far as
// axe can tell, contrast included.
export async function faults(page, axe) {
  await page.evaluate(axe.source)
  const { violations } = await page.evaluate(() => globalThis.axe.run({ resultTypes: ['violations'] }))
  return violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${v.help}: ${n.html.slice(0, 160)}`))
}
