// Goes through connect links as people do, in a real browser, and prints what it
// saw as JSON; tests/connect_browser_test.go says what it should have seen.
// Standard input has the JSON object of which the names are taken below.
import { text } from 'node:stream/consumers'
import { join } from 'node:path'
import axe from 'axe-core'
import { chromium } from 'playwright-core'
import { faults, named, overflow, walk } from './page.mjs'

const { executable, links, pictures } = JSON.parse(await text(process.stdin))
const browser = await chromium.launch({ executablePath: executable, args: ['--no-sandbox', '--disable-dev-shm-usage'] })
const saw = { complaints: [], pages: {}, looks: {}, cookies: [] }

// visit runs one visit in a browser of its own, without JavaScript as links must
// work; what looks at pages turns it on.
async function visit(name, go, javaScriptEnabled = false) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, javaScriptEnabled })
  context.on('console', (m) => { if (['error', 'warning'].includes(m.type())) saw.complaints.push({ step: name, text: m.text(), url: m.location().url }) })
  const page = await context.newPage()
  await go(page, context)
  saw.pages[name] = { url: page.url(), title: await page.title(), text: await page.locator('body').innerText() }
  await page.screenshot({ path: join(pictures, 'connect-' + name + '.png'), fullPage: true })
  await context.close()
}

const goOn = (page) => page.getByRole('button').click()

// looks examines a page for phones, keyboards, screen readers, light and dark.
async function looks(page, name) {
  const found = []
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme })
    found.push(...await faults(page, axe))
  }
  const seen = { faults: found, named: await named(page), walk: await walk(page) }
  await page.setViewportSize({ width: 320, height: 640 })
  saw.looks[name] = { ...seen, overflow: await overflow(page) }
}

await visit('consent', async (page) => { await page.goto(links.looked); await looks(page, 'consent') }, true)
await visit('done', async (page, context) => {
  await page.goto(links.plain)
  await goOn(page)
  await page.getByRole('heading', { name: 'is connected' }).waitFor()
  saw.cookies = await context.cookies()
  const url = page.url()
  await page.goBack() // to the consent page, of a link that is used now
  saw.pages.back = { url: page.url(), text: await page.locator('body').innerText() }
  await page.goto(url) // the same answer again
})
await visit('ended', async (page) => { await page.goto(links.looked2); await goOn(page); await looks(page, 'ended') }, true)
await visit('returned', async (page) => { await page.goto(links.returning); await goOn(page); await page.waitForURL('**/done?**') })
await visit('denied', async (page) => { await page.goto(links.denying); await goOn(page) })
await visit('variable', async (page) => {
  await page.goto(links.asking)
  await page.getByRole('textbox').fill('evil/')
  await goOn(page)
  saw.pages.refused = { text: await page.locator('body').innerText(), alert: await page.getByRole('alert').innerText() }
  await looks(page, 'variable')
  await page.getByRole('textbox').fill('auth')
  await goOn(page)
}, true)

// The provider posts its answer, from its own site.
await visit('posted', async (page) => {
  await page.goto(links.posting)
  await goOn(page)
  await page.getByRole('button', { name: 'send' }).click()
})

// The answer of one browser is opened in another.
let answer = ''
await visit('held', async (page) => {
  await page.goto(links.stolen)
  await goOn(page)
  const form = page.locator('form')
  const fields = await form.locator('input').evaluateAll((all) => all.map((e) => [e.name, e.value]))
  answer = await form.getAttribute('action') + '?' + new URLSearchParams(fields)
})
await visit('stolen', async (page) => { await page.goto(answer) })

await visit('expired', async (page) => { await page.goto(links.nothing) })

await browser.close()
process.stdout.write(JSON.stringify(saw))
