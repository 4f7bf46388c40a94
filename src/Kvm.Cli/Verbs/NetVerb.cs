using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Devices.Net.Policy;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Network.Model;

namespace Kvm.Cli.Verbs;

/// <summary><c>kvmsharp net</c>: networks as models, looked at, asked and served.</summary>
internal sealed class NetVerb : Verb
{
    private readonly WordArgument _action = new("ACTION", "check: who is where, once the file is valid. why: which rule decides whether FROM may begin to talk to TO. serve: the network, in the foreground.")
    { Kind = ValueKind.OneOf, Values = ["check", "why", "serve"] };
    private readonly WordArgument _file = new("FILE", "The network's description, JSON.") { Kind = ValueKind.File };
    private readonly WordArgument _from = new("FROM", "why: the name of a machine, or uplink.");
    private readonly WordArgument _to = new("TO", "why: the name of a machine or service, or uplink.");
    private readonly WordArgument _port = new("PORT", "why: tcp/PORT, udp/PORT or icmp.");

    public NetVerb()
        : base("net", "Networks as models: who is in them, who may talk to whom, and why.")
    {
        foreach (var argument in (WordArgument[])[_action, _file, _from, _to, _port])
            Add(argument);
        Examples =
        [
            ("kvmsharp net check lab.json", "the addresses everybody gets"),
            ("kvmsharp net why lab.json web1 db1 tcp/5432", "the rule that decides"),
            ("kvmsharp net serve lab.json", "the network, for guests of other processes, until Ctrl-C"),
            ("kvmsharp run vmlinuz --name web1 --net model=lab.json", "one of its machines; the network is made if nobody serves it"),
        ];
        Notes = ["docs/network.md, 'A network as a model', has a complete description."];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        if (_action.Text(result) is not { } action)
            throw new VmmException(UsageErrors.Incomplete, "net needs a word: check, why or serve");
        if (action is not ("check" or "why" or "serve"))
            throw new VmmException(UsageErrors.Unknown, $"net does not know {VisibleText.Quote(action, 40)}: check, why or serve");
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
