import { chooseVersions } from "../lab/versions.ts"

chooseVersions(process.env["LAB_DEBIAN"] ?? "")
