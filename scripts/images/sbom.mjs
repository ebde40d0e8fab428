/**
 * `sbom.mjs IMAGE STATUS_D [PACKAGES]`: prints what an image contains, as SPDX 2.3 JSON (https://spdx.github.io/spdx-spec/v2.3):
 * Debian's packages from the folder `var/lib/dpkg/status.d` of its root, those of npm from build.mjs's `--packages`, and flock. No
 * date and no random name: the same image gives the same bytes.
 */
import { createHash } from "node:crypto"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"

const [image, statusFolder, packagesFile] = process.argv.slice(2)
const flock = JSON.parse(readFileSync(join(import.meta.dirname, "../../package.json"), "utf8"))

const field = (control, name) => new RegExp(`^${name}: (.*)$`, "m").exec(control)?.[1]

const entry = ({ license = "NOASSERTION", name, purl, version, supplier = "NOASSERTION" }) => ({
  SPDXID: `SPDXRef-${purl.replace(/[^A-Za-z0-9.-]+/g, "-")}`,
  name,
  versionInfo: version,
  supplier,
  downloadLocation: "NOASSERTION",
  filesAnalyzed: false,
  licenseConcluded: "NOASSERTION",
  licenseDeclared: license,
  copyrightText: "NOASSERTION",
  externalRefs: [{ referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: purl }]
})

/** Their licences are texts, in /usr/share/doc/NAME/copyright. */
const debian = readdirSync(statusFolder).toSorted().map((file) => {
  const control = readFileSync(join(statusFolder, file), "utf8")
  const [name, version, arch] = ["Package", "Version", "Architecture"].map((key) => field(control, key))
  const purl = `pkg:deb/debian/${name}@${encodeURIComponent(version)}?arch=${arch}&distro=debian-13`
  return entry({ name, version, purl, supplier: "Organization: Debian" })
})

const npm = packagesFile === undefined ? [] : JSON.parse(readFileSync(packagesFile, "utf8")).map(
  ({ license, name, version }) =>
    entry({ name, version, license, purl: `pkg:npm/${name.replace("@", "%40")}@${encodeURIComponent(version)}` })
)
const own = packagesFile === undefined ? [] : [
  entry({ name: "flock", version: flock.version, license: flock.license, purl: `pkg:generic/flock@${flock.version}` })
]

const packages = [...own, ...npm, ...debian]
const hash = createHash("sha256").update(JSON.stringify(packages)).digest("hex")
console.log(JSON.stringify(
  {
    spdxVersion: "SPDX-2.3",
    dataLicense: "CC0-1.0",
    SPDXID: "SPDXRef-DOCUMENT",
    name: `${image}-${flock.version}`,
    documentNamespace: `https://spdx.org/spdxdocs/${image}-${flock.version}-${hash}`,
    // of the format, not of the image: whoever wants the image's date has its label and its commit
    creationInfo: { created: "1970-01-01T00:00:00Z", creators: ["Tool: flock-sbom.mjs"] },
    packages,
    relationships: packages.map(({ SPDXID }) => ({
      spdxElementId: "SPDXRef-DOCUMENT",
      relationshipType: "DESCRIBES",
      relatedSpdxElement: SPDXID
    }))
  },
  null,
  1
))
