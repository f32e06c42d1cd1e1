// Uses a node's dashboard as people do, in a real browser, and prints what it
// saw as JSON; tests/browser_seen_test.go says what it should have seen. Standard
// input has the JSON object of which the names are taken below.
import { text } from 'node:stream/consumers'
import { join } from 'node:path'
import axe from 'axe-core'
import { chromium } from 'playwright-core'
import { faults, kept, named, notes, overflow, overview, read, redrawn, walk } from './page.mjs'

const { url, executable, adminKey, tenantKey, account, dead, vanishing, html, pictures } = JSON.parse(await text(process.stdin))
const PERIOD = 5000 // ms, of the page's own refreshes
const PHONE = { width: 360, height: 740 }
const DESKTOP = { width: 1280, height: 900 }

const saw = { requests: [], complaints: [], pages: {}, phone: {}, named: {}, faults: {}, walks: {} }
let step = ''

// listen collects where the page's requests go and what the browser's console
// complains about, refusals by the page's own policy among it.
function listen(context) {
  context.on('request', (request) => saw.requests.push(request.url()))
  context.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) {
      saw.complaints.push({ step, text: message.text(), url: message.location().url })
    }
  })
  context.on('weberror', (error) => saw.complaints.push({ step, text: String(error.error()), url: '' }))
}

async function signIn(page, key) {
  await page.locator('#key').fill(key)
  await page.getByRole('button', { name: 'Show' }).click()
}

// refused signs in with a key that is no good.
async function refused(page, key) {
  await signIn(page, key)
  await page.locator('#status.bad').waitFor()
  return { ...await overview(page), kept: await kept(page) }
}

const picture = (page, name) => page.screenshot({ path: join(pictures, name + '.png'), fullPage: true })

// looks examines the page as it is now: for phones, in light and dark, for
// keyboards and screen readers.
async function looks(page, name) {
  saw.named[name] = await named(page)
  saw.walks[name] = await walk(page)
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme })
    const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor)
    saw.faults[`${name}, ${colorScheme}`] = { ground, found: await faults(page, axe) }
    await picture(page, `${name}-${colorScheme}`)
  }
  await page.emulateMedia({ colorScheme: 'light' })
  await page.setViewportSize(PHONE)
  saw.phone[name] = await overflow(page)
  await picture(page, `${name}-phone`)
  await page.setViewportSize(DESKTOP)
}

const steps = {
  async front(page) {
    await page.goto(url)
    return { ...await overview(page), type: await page.locator('#key').getAttribute('type'), at: page.url() }
  },

  looksBefore: (page) => looks(page, 'signin'),

  wrongKey: (page) => refused(page, 'a-key-that-nobody-made'),

  impossibleKey: (page) => refused(page, 'ключ'),

  // By keyboard alone, and with the clock stopped, so that the page refreshes
  // itself only when the script says so.
  async signIn(page) {
    await page.clock.install()
    await page.reload()
    await page.clock.pauseAt(await page.evaluate(() => Date.now() + 30_000)) // far enough ahead for a slow machine
    for (let i = 0; i < 20 && !await page.locator('#key').evaluate((e) => e === document.activeElement); i++) {
      await page.keyboard.press('Tab')
    }
    await page.keyboard.type(adminKey)
    await redrawn(page, 'accounts', () => page.keyboard.press('Enter'))
    await page.getByText('Up to date').waitFor()
    return {
      ...await overview(page), notes: await notes(page), kept: await kept(page),
      nodes: await read(page, 'nodes'),
      integrations: await read(page, 'integrations'),
    }
  },

  // By keyboard; they stay open.
  async shards(page) {
    const box = page.locator('details')
    const closed = !await page.locator('#shards').isVisible()
    await box.locator('summary').focus()
    await page.keyboard.press('Enter')
    await page.locator('#shards').waitFor()
    return { closed, count: await box.locator('summary').innerText(), rows: await read(page, 'shards') }
  },

  async lists(page) {
    const first = await read(page, 'accounts')
    const back = page.getByRole('button', { name: 'First page' })
    const next = page.getByRole('button', { name: 'Next page' })
    const ends = [await back.isDisabled(), await next.isDisabled()]
    await redrawn(page, 'accounts', () => next.click())
    const second = await read(page, 'accounts')
    ends.push(await back.isDisabled(), await next.isDisabled())
    await redrawn(page, 'accounts', () => back.click())
    return { first, second, ends, again: await read(page, 'accounts') }
  },

  async filters(page) {
    const found = {}
    const filter = page.getByRole('button', { name: 'Filter' })
    for (const state of ['active', 'pending', 'needs reauth', 'disconnected']) {
      await page.getByLabel('State').selectOption(state)
      await redrawn(page, 'accounts', () => filter.click())
      found[state] = await read(page, 'accounts')
    }
    await page.getByLabel('State').selectOption('all')
    await page.getByLabel('Tenant').fill(account.split('/')[0])
    await redrawn(page, 'accounts', () => page.keyboard.press('Enter'))
    found.tenant = await read(page, 'accounts')
    await page.getByLabel('Tenant').fill('')
    await redrawn(page, 'accounts', () => filter.click())
    return found
  },

  // First an account of which the history tells things in HTML: grantd lets no
  // such words through, and the page does not rely on that.
  async history(page) {
    const see = async (name) => {
      await redrawn(page, 'history', () => page.getByRole('button', { name, exact: true }).click())
      return {
        title: await page.locator('#history-title').innerText(), lines: await read(page, 'history'),
        notes: await notes(page), focus: (await overview(page)).focus, elements: await page.locator('#history td *:not(time)').count(),
      }
    }
    const answers = '**/history?*'
    await page.route(answers, async (route) => {
      const response = await route.fetch()
      const body = await response.json()
      for (const line of body.history) line.reason = line.detail = line.node = html
      await route.fulfill({ response, json: body })
    })
    const spoilt = await see(dead)
    await page.unroute(answers)
    return { spoilt, true: await see(account) }
  },

  // Somebody disconnects the account on which the keyboard is.
  async refreshes(page) {
    const button = page.getByRole('button', { name: vanishing, exact: true })
    await button.focus()
    await fetch(new URL(`/v1/accounts/${vanishing}`, url), { method: 'DELETE', headers: { Authorization: 'Bearer ' + adminKey } })
    await redrawn(page, 'accounts', () => page.clock.fastForward(PERIOD))
    const focused = await button.evaluate((e) => e === document.activeElement)
    const open = await page.locator('#shards').isVisible()
    await page.getByLabel('Refresh every').uncheck()
    await page.clock.resume()
    return { accounts: await read(page, 'accounts'), focused, open }
  },

  // Without the crowd, of which the rows are all the same.
  async looksAfter(page) {
    await page.getByLabel('Tenant').fill(vanishing.split('/')[0])
    await redrawn(page, 'accounts', () => page.getByRole('button', { name: 'Filter' }).click())
    await looks(page, 'board')
  },

  async offline(page) {
    await page.getByRole('button', { name: 'Close' }).click()
    await page.context().setOffline(true)
    await page.getByRole('button', { name: 'Filter' }).click()
    await page.locator('#status.bad').waitFor()
    const seen = { ...await overview(page), notes: await notes(page), history: await page.locator('#history-section').isVisible() }
    await page.context().setOffline(false)
    return seen
  },

  async signOut(page) {
    await page.getByRole('button', { name: 'Sign out' }).click()
    const seen = { ...await overview(page), kept: await kept(page), tenant: await page.locator('#tenant').inputValue() }
    await page.reload()
    return { ...seen, afterReload: await overview(page) }
  },

  async tenantKey(page) {
    await redrawn(page, 'accounts', () => signIn(page, tenantKey))
    await page.getByText('Up to date').waitFor()
    return { ...await overview(page), notes: await notes(page), accounts: await read(page, 'accounts'), nodes: await read(page, 'nodes'), shards: await read(page, 'shards') }
  },
}

const browser = await chromium.launch({
  executablePath: executable,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
  ],
})
try {
  const context = await browser.newContext({ viewport: DESKTOP })
  context.setDefaultTimeout(30_000) // ms
  listen(context)
  const page = await context.newPage()
  console.error(`the browser runs after ${Math.round(performance.now())} ms`)
  for (const [name, take] of Object.entries(steps)) {
    step = name
    const began = performance.now()
    saw.pages[name] = await take(page)
    console.error(`${name}: ${Math.round(performance.now() - began)} ms`)
  }
  saw.requests = [...new Set(saw.requests)]
  console.log(JSON.stringify(saw))
} catch (error) {
  console.error(`in step ${step}: ${error.stack}`)
  process.exitCode = 1
} finally {
  await browser.close()
}
