using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Devices.Net.Policy;
using Kvm.Manager;
using Kvm.Manager.Networks;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Network.Model;

namespace Kvm.Cli.Verbs;

/// <summary><c>kvmsharp net</c>: networks as models, looked at, asked and served.</summary>
internal sealed class NetVerb : Verb
{
    private static readonly string[] s_actions = ["check", "why", "serve", "define", "ls", "inspect", "start", "stop", "autostart", "rm"];

    private readonly WordArgument _action = new("ACTION", "check: who is where, once the file is valid. why: which rule decides whether FROM may begin to talk to TO. serve: the network, in the foreground. define FILE, start, stop, autostart, inspect and rm NAME, ls: networks of the state folder.")
    { Kind = ValueKind.OneOf, Values = s_actions };
    private readonly WordArgument _file = new("FILE", "The network's description: JSON, or for define also libvirt's XML; or the NAME of a network of the state folder.") { Kind = ValueKind.File };
    private readonly WordArgument _from = new("FROM", "why: the name of a machine, or uplink.");
    private readonly WordArgument _to = new("TO", "why: the name of a machine or service, or uplink.");
    private readonly WordArgument _port = new("PORT", "why: tcp/PORT, udp/PORT or icmp.");

    private readonly SwitchOption _force = new("--force", "How", "rm: ends it first where it runs, and removes it also where its record cannot be read.", "-f");
    private readonly SwitchOption _off = new("--off", "How", "autostart: not any more.");

    public NetVerb()
        : base("net", "Networks as models: who is in them, who may talk to whom, and why.")
    {
        foreach (var argument in (WordArgument[])[_action, _file, _from, _to, _port])
            Add(argument);
        Add(_force);
        Add(_off);
        Examples =
        [
            ("kvmsharp net check lab.json", "the addresses everybody gets"),
            ("kvmsharp net why lab.json web1 db1 tcp/5432", "the rule that decides"),
            ("kvmsharp net serve lab.json", "the network, for guests of other processes, until Ctrl-C"),
            ("kvmsharp net define lab.json", "kept, by the name in it; then: kvmsharp net start lab"),
            ("kvmsharp run vmlinuz --name web1 --net network=lab", "one of its machines; the network is started if it does not run"),
            ("kvmsharp net inspect lab", "who has which address, and who is there"),
            ("kvmsharp run vmlinuz --name web1 --net model=lab.json", "one of its machines; the network is made if nobody serves it"),
        ];
        Notes = ["docs/network.md, 'A network as a model', has a complete description."];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        string action = Deed(_action, result);
        if (action is not ("check" or "why" or "serve"))
            return Kept(result, action, global);
        string file = _file.Text(result) ?? throw new VmmException(UsageErrors.Incomplete, $"net {action} needs a FILE");
        if (action == "why")
            return Why(result, NetworkModel.Load(file), global);
        if (_from.Text(result) is { } stray)
            throw new VmmException(UsageErrors.Unknown, $"net {action} does not take {VisibleText.Quote(stray, 40)} here");
        var model = NetworkModel.Load(file);
        if (action == "serve")
            return NetworkService.Run(model, global.Json);
        StandardStreams.Output(global.Json ? JsonText.Of(json => NetworkText.Write(json, model)) : NetworkText.Of(model));
        return ExitCode.Success;
    }

    /// <summary>Networks of the state folder.</summary>
    private int Kept(ParseResult result, string action, GlobalOptions global)
    {
        string name = _file.Text(result) ?? (action == "ls" ? "" : throw new VmmException(UsageErrors.Incomplete, $"net {action} needs {(action == "define" ? "a FILE" : "the NAME of a network")}"));
        if ((action == "ls" && name.Length > 0 ? name : _from.Text(result)) is { } stray)
            throw new VmmException(UsageErrors.Unknown, $"net {action} does not take {VisibleText.Quote(stray, 40)} here");
        var store = new NetworkStore(ManagerOptions.OfThisUser());
        switch (action)
        {
            case "define":
                return SnapshotVerb.Show(global, store.Define(ReadAll(name), name), KeptNetworkText.Write, KeptNetworkText.Line);
            case "ls":
                return SnapshotVerb.Show(global, store.List(), KeptNetworkText.Write, KeptNetworkText.Of);
            case "inspect":
                return SnapshotVerb.Show(global, (Entry: store.Get(name), Status: store.Status(name)), (json, all) => KeptNetworkText.Write(json, all.Entry, all.Status), all => KeptNetworkText.Of(all.Entry, all.Status));
            case "rm":
                store.Remove(name, _force.IsGiven(result));
                return SnapshotVerb.Say(global, $"{name}: removed", ("removed", name));
            case "start":
                store.Start(name);
                break;
            case "stop":
                store.Stop(name);
                break;
            default:
                store.SetAutoStart(name, !_off.IsGiven(result));
                break;
        }

        return SnapshotVerb.Show(global, store.Get(name), KeptNetworkText.Write, KeptNetworkText.Line);
    }

    private static byte[] ReadAll(string file)
    {
        const int mostBytes = 1 << 20;
        try
        {
            using var handle = File.OpenHandle(file);
            byte[] bytes = new byte[mostBytes + 1];
            int count = 0;
            for (int read; count < bytes.Length && (read = RandomAccess.Read(handle, bytes.AsSpan(count), count)) > 0;)
                count += read;
            return bytes[..count];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new VmmException(Kvm.Vmm.Network.NetworkErrors.BadModel, $"{VisibleText.Quote(file)}: {HostFailureText.Of(e)}", e);
        }
    }

    private int Why(ParseResult result, NetworkModel model, GlobalOptions global)
    {
        if (_from.Text(result) is not { } from || _to.Text(result) is not { } to || _port.Text(result) is not { } text)
            throw new VmmException(UsageErrors.Incomplete, "net why needs a FILE, FROM, TO and PORT: kvmsharp net why lab.json web1 db1 tcp/5432");
        if (PortRange.Parse(text) is not { } port || (port.Protocol != PacketHeaders.Icmp && (port.IsWhole || port.First != port.Last)))
            throw Quantities.Bad("PORT", text, "is not tcp/PORT, udp/PORT or icmp");
        var reasons = model.Why(from, to, port.Protocol, port.Protocol == PacketHeaders.Icmp ? (ushort)0 : port.First);
        if (reasons.Count == 0)
            throw new VmmException(UsageErrors.Unknown, NetworkText.Unknown(model, from, to));
        StandardStreams.Output(global.Json ? JsonText.Of(json => NetworkText.Write(json, from, to, text, reasons, model)) : NetworkText.Of(reasons));
        return ExitCode.Success;
    }
}
