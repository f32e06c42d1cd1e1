// Goes through one connect link as a person does, signs in and consents at
// oidc-provider, and prints as JSON where that ended. Standard input has the JSON
// object of which the names are taken below.
import { text } from 'node:stream/consumers'
import { chromium } from 'playwright-core'

const { executable, link, login } = JSON.parse(await text(process.stdin))
const browser = await chromium.launch({ executablePath: executable, args: ['--no-sandbox', '--disable-dev-shm-usage'] })
const context = await browser.newContext({ ignoreHTTPSErrors: true })
const page = await context.newPage()
await page.goto(link)
await page.getByRole('button').click()
await page.locator('input[name=login]').fill(login)
await page.locator('input[name=password]').fill('any')
await page.locator('button[type=submit]').click()
await page.locator('button[type=submit]', { hasText: 'Continue' }).click()
await page.waitForURL('**/callback?**')
process.stdout.write(JSON.stringify({ url: page.url(), text: await page.locator('body').innerText() }))
await browser.close()
