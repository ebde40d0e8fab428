import type { Lab, Plugin } from "./lab.ts"

/** Debian's ptp with host-local, which reads no NodeConfig: one subnet per family. */
export const ptp = (lab: Lab, name: string, subnets: ReadonlyArray<string>): Plugin => ({
  path: "/usr/lib/cni/ptp",
  config: lab.write(
    `${name}.json`,
    JSON.stringify({
      cniVersion: "1.0.0",
      name,
      type: "ptp",
      ipMasq: false,
      mtu: 1500,
      ipam: {
        type: "host-local",
        dataDir: `${lab.directory}/host-local`,
        ranges: subnets.map((subnet) => [{ subnet }]),
        routes: subnets.map((subnet) => ({ dst: subnet.includes(":") ? "::/0" : "0.0.0.0/0" }))
      }
    })
  )
})
