# Evaluates flake.nix with as much of nixpkgs as it uses, so that it can be looked at with no network: derivations are
# their own arguments. `nix-instantiate --eval --strict --json --store dummy:// evaluate.nix` prints what tests compare.
let
  inherit (builtins)
    attrValues
    concatStringsSep
    elemAt
    filter
    fromJSON
    isList
    isString
    length
    listToAttrs
    map
    mapAttrs
    readFile
    replaceStrings
    split
    stringLength
    substring
    ;

  lib = rec {
    inherit (builtins) elem;
    inherit mapAttrs;
    importJSON = path: fromJSON (readFile path);
    last = list: elemAt list (length list - 1);
    splitString = separator: text: filter isString (split separator text);
    toList = value: if isList value then value else [ value ];
    hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
    concatStrings = concatStringsSep "";
    mapAttrsToList = f: set: attrValues (mapAttrs f set);
    filterAttrs =
      keep: set:
      listToAttrs (
        map (name: {
          inherit name;
          value = set.${name};
        }) (filter (name: keep name set.${name}) (builtins.attrNames set))
      );
    escapeShellArg = text: "'${text}'";
    makeLibraryPath = concatStringsSep ":";
    strings.sanitizeDerivationName = replaceStrings [ "@" "/" ] [ "" "-" ];
    fetchers.proxyImpureEnvVars = [ "https_proxy" ];
    fileset = {
      unions = map (path: assert builtins.pathExists path; baseNameOf path);
      toSource =
        { root, fileset }: assert builtins.pathExists root; "/source";
    };
  };

  derivation' = args: args // { outPath = "/store/${args.outputHash or "out"}/${args.name or args.pname}"; };
  package = name: derivation' { inherit name; };
  stdenv = {
    mkDerivation = derivation';
    cc.cc = package "gcc";
  };
  pkgs =
    builtins.listToAttrs (
      map
        (name: {
          inherit name;
          value = package name;
        })
        [
          "bird2"
          "busybox"
          "cacert"
          "cni-plugins"
          "containerd"
          "etcd"
          "frr"
          "gcc"
          "gnumake"
          "iproute2"
          "iputils"
          "makeBinaryWrapper"
          "nixfmt-rfc-style"
          "nodejs_24"
          "nodejs-slim_24"
          "runc"
          "tcpdump"
        ]
    )
    // {
      inherit stdenv;
      stdenvNoCC = stdenv;
      pkgsStatic = { inherit stdenv; };
      glibc.static = package "glibc-static";
      runCommand = name: args: script: derivation' (args // { inherit name script; });
      mkShell = args: derivation' (args // { name = "shell"; });
      dockerTools.buildLayeredImage = derivation';
    };

  outputs = (import ../../../flake.nix).outputs {
    self = "/source";
    nixpkgs = {
      inherit lib;
      legacyPackages = {
        x86_64-linux = pkgs;
        aarch64-linux = pkgs;
      };
    };
  };
in
{
  images = mapAttrs (
    _: packages:
    map
      (image: {
        inherit (image) name tag created;
        command = image.config.Cmd;
        contents = map (content: content.name or content.pname) image.contents;
      })
      [
        packages.image-agent
        packages.image-bird
      ]
  ) outputs.packages;
  agent = mapAttrs (_: { agent, ... }: { inherit (agent) version buildPhase installPhase; }) outputs.packages;
  plugin = mapAttrs (_: { plugin, ... }: plugin.makeFlags) outputs.packages;
  modules = mapAttrs (_: { node-modules, ... }: node-modules.script) outputs.packages;
  unit = mapAttrs (_: { unit, ... }: unit.script) outputs.checks;
  shells = mapAttrs (_: { default }: length default.packages) outputs.devShells;
}
