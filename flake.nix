# flock with Nix: `nix build .#agent`, `.#plugin`, `.#image-agent`, `.#image-bird`; `nix develop`; `nix flake check`.
# npm packages come one by one, each held to the hash in package-lock.json; docs/packaging.md says how, and what was run.
{
  description = "A Kubernetes CNI for people who run their own routers";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-25.11";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      inherit (lib.importJSON ./package.json) version;
      lock = (lib.importJSON ./package-lock.json).packages;

      # npm's word for the architecture
      systems = {
        x86_64-linux = "x64";
        aarch64-linux = "arm64";
      };
      perSystem = make: lib.mapAttrs (system: cpu: make nixpkgs.legacyPackages.${system} cpu) systems;

      # `node_modules/@scope/name` → `@scope/name`
      nameOf = path: lib.last (lib.splitString "node_modules/" path);

      # What scripts/setup.sh installs on Linux with glibc, but for Node itself, which nixpkgs has.
      wanted =
        cpu: path: entry:
        let
          suits = field: value: !(entry ? ${field}) || lib.elem value (lib.toList entry.${field});
        in
        path != ""
        && !(entry.peer or false)
        && suits "os" "linux"
        && suits "cpu" cpu
        && suits "libc" "glibc"
        && !(lib.hasPrefix "node-linux-" (nameOf path));

      # One package's tarball as the registry has it. npm knows its registry; NPM_CONFIG_REGISTRY names another.
      tarball =
        pkgs: path: entry:
        pkgs.stdenvNoCC.mkDerivation {
          name = "${lib.strings.sanitizeDerivationName (nameOf path)}-${entry.version}.tgz";
          outputHash = entry.integrity;
          outputHashMode = "flat";
          impureEnvVars = lib.fetchers.proxyImpureEnvVars ++ [ "NPM_CONFIG_REGISTRY" ];
          nativeBuildInputs = [ pkgs.nodejs_24 ];
          NODE_EXTRA_CA_CERTS = "${pkgs.cacert}/etc/ssl/certs/ca-bundle.crt";
          buildCommand = ''
            export HOME=$TMPDIR
            npm pack --silent --ignore-scripts ${lib.escapeShellArg "${nameOf path}@${entry.version}"}
            mv ./*.tgz $out
          '';
        };

      modules =
        pkgs: cpu:
        pkgs.runCommand "flock-node-modules-${version}" { } (
          lib.concatStrings (
            lib.mapAttrsToList (path: entry: ''
              mkdir -p $out/${path}
              tar -xzf ${tarball pkgs path entry} -C $out/${path} --strip-components=1 --no-same-owner
            '') (lib.filterAttrs (wanted cpu) lock)
          )
        );

      # What the bundle is made of; tests have the whole tree.
      source = lib.fileset.toSource {
        root = ./.;
        fileset = lib.fileset.unions [
          ./LICENSE
          ./package.json
          ./scripts/build.mjs
          ./scripts/notices.mjs
          ./src
          ./tsconfig.json
        ];
      };

      withModules = pkgs: cpu: ''
        mkdir node_modules
        ln -s ${modules pkgs cpu}/node_modules/* node_modules/
      '';

      # Static, for hosts with any libc or none.
      plugin =
        pkgs:
        pkgs.pkgsStatic.stdenv.mkDerivation {
          pname = "flock-cni";
          inherit version;
          src = ./cni;
          makeFlags = [ "OUT=$(out)/bin" ];
          dontInstall = true;
          doInstallCheck = true;
          installCheckPhase = "CNI_COMMAND=VERSION $out/bin/flock </dev/null | grep -q supportedVersions";
        };

      # The layout of dist/ under lib/flock, and a command.
      agent =
        pkgs: cpu:
        pkgs.stdenvNoCC.mkDerivation {
          pname = "flock-agent";
          inherit version;
          src = source;
          nativeBuildInputs = [
            pkgs.nodejs_24
            pkgs.makeBinaryWrapper
          ];
          buildPhase = ''
            ${withModules pkgs cpu}
            node scripts/build.mjs --entry src/main.ts --out $out/lib/flock
          '';
          installPhase = ''
            install -Dm755 ${plugin pkgs}/bin/flock $out/lib/flock/cni/flock
            mkdir -p $out/bin
            ln -s $out/lib/flock/cni/flock $out/bin/flock-cni
            makeBinaryWrapper ${pkgs.nodejs-slim_24}/bin/node $out/bin/flock-agent --add-flags $out/lib/flock/flock-agent.mjs
          '';
          doInstallCheck = true;
          installCheckPhase = "test \"$($out/bin/flock-agent version)\" = ${version}";
          # node's path in the shebang is the wrapper's business
          dontPatchShebangs = true;
        };

      # A fixed date and a fixed order of layers: the same inputs give the same image, bit by bit.
      image =
        pkgs: name: contents: command:
        pkgs.dockerTools.buildLayeredImage {
          inherit name contents;
          tag = version;
          created = "1970-01-01T00:00:01Z";
          config = {
            Cmd = command;
            Env = [ "PATH=/bin" ];
          };
        };
    in
    {
      packages = perSystem (
        pkgs: cpu: {
          default = agent pkgs cpu;
          agent = agent pkgs cpu;
          plugin = plugin pkgs;
          node-modules = modules pkgs cpu;
          image-agent = image pkgs "flock-agent" [ (agent pkgs cpu) ] [ "flock-agent" "run" ];
          # the DaemonSet waits for bird.conf in a shell
          image-bird = image pkgs "flock-bird" [ pkgs.bird2 pkgs.busybox ] [ "bird" "--version" ];
        }
      );

      devShells = perSystem (
        pkgs: _: {
          default = pkgs.mkShell {
            packages = [
              pkgs.nodejs_24
              pkgs.gcc
              pkgs.glibc.static
              pkgs.gnumake
              pkgs.bird2
              pkgs.frr
              pkgs.iproute2
              pkgs.iputils
              pkgs.cni-plugins
              pkgs.containerd
              pkgs.runc
              pkgs.etcd
              pkgs.tcpdump
            ];
          };
        }
      );

      checks = perSystem (
        pkgs: cpu: {
          agent = agent pkgs cpu;
          plugin = plugin pkgs;
          unit =
            pkgs.runCommand "flock-unit-tests-${version}"
              {
                nativeBuildInputs = [
                  pkgs.nodejs_24
                  pkgs.bird2
                ];
                # vitest's bundler is a shared library built elsewhere
                LD_LIBRARY_PATH = lib.makeLibraryPath [ pkgs.stdenv.cc.cc ];
              }
              ''
                cp -r --no-preserve=mode ${self} source && cd source
                ${withModules pkgs cpu}
                # all but the tests of this file, which need nix and npm's own record of an installation
                node node_modules/vitest/vitest.mjs run --project unit --exclude 'test/unit/packaging/**'
                touch $out
              '';
        }
      );

      formatter = perSystem (pkgs: _: pkgs.nixfmt-rfc-style);
    };
}
