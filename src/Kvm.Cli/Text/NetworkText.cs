using System.Globalization;
using System.Text;
using System.Text.Json;
using Kvm.Devices.Net.Policy;
using Kvm.Devices.Net.Services;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Network.Model;

namespace Kvm.Cli.Text;

/// <summary>Networks in words and in JSON: who is where, and why who may talk to whom.</summary>
internal static class NetworkText
{
    /// <summary>Reasons, one a line.</summary>
    public static string Of(IReadOnlyList<PolicyReason> reasons) => string.Concat(reasons.Select(r => $"{(r.Allowed ? "allowed" : "denied")}: {r.Reason}\n"));

    /// <summary>Reasons as one document.</summary>
    public static void Write(Utf8JsonWriter json, string from, string to, string port, IReadOnlyList<PolicyReason> reasons, NetworkModel model)
    {
        json.WriteStartObject();
        json.WriteString("from", from);
        json.WriteString("to", to);
        json.WriteString("port", port);
        json.WriteStartArray("decisions");
        foreach (var reason in reasons)
        {
            json.WriteStartObject();
            json.WriteBoolean("allowed", reason.Allowed);
            if (reason.Rule >= 0)
            {
                json.WriteNumber("rule", reason.Rule + 1);
                json.WriteString("text", model.Rules[reason.Rule].ToString());
            }
            else
            {
                json.WriteNull("rule");
            }

            json.WriteString("why", reason.Reason);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    /// <summary>Says whose name is nobody's.</summary>
    public static string Unknown(NetworkModel model, string from, string to)
    {
        List<string> known = [.. model.Machines.Select(m => m.Name), .. model.Services.Select(s => s.Name), NetworkServices.UplinkName];
        string nobody = model.Machines.Any(m => m.Name == from) || from == NetworkServices.UplinkName ? to : from;
        string hint = model.Services.FirstOrDefault(s => s.Name == nobody) is { } service ? $"is a service at {PortOf(service)} alone, and begins nothing"
            : NearestName.Find(nobody, known) is { } near ? $"is nobody in {model.Name}; did you mean '{near}'?" : $"is nobody in {model.Name}: {string.Join(", ", known.Take(8))}";
        return $"{VisibleText.Quote(nobody, 40)} {hint}";
    }

    /// <summary>A network as tables.</summary>
    public static string Of(NetworkModel model)
    {
        var text = new StringBuilder();
        string uplink = model.Uplink switch { ModelUplinkKind.User => "user", ModelUplinkKind.Tap => $"tap={model.TapName}", _ => "none" };
        text.Append(CultureInfo.InvariantCulture, $"{model.Name}  {model.SubnetText}  uplink {uplink}  server {NetworkModel.TextOf(model.Plan.Server)}");
        text.Append(model.Plan.Gateway == 0 ? "\n" : $"  gateway {NetworkModel.TextOf(model.Plan.Gateway)}\n");
        if (model.Plan.FirstLease != 0)
            text.Append(CultureInfo.InvariantCulture, $"others get {NetworkModel.TextOf(model.Plan.FirstLease)} to {NetworkModel.TextOf(model.Plan.LastLease)}\n");
        if (model.Machines.Count > 0)
            text.Append(CultureInfo.InvariantCulture, $"\n{"MACHINE",-32} {"ADDRESS",-15} {"CARD",-17} {"VLAN",4} LABELS\n");
        foreach (var m in model.Machines)
            text.Append(CultureInfo.InvariantCulture, $"{m.Name,-32} {NetworkModel.TextOf(m.Address),-15} {m.Mac,-17} {m.Vlan,4} {string.Join(' ', m.Labels)}{(m.Isolated ? " (isolated)" : "")}{(m.IsolationGroup.Length == 0 ? "" : $" (isolated={m.IsolationGroup})")}\n");
        if (model.Services.Count > 0)
            text.Append(CultureInfo.InvariantCulture, $"\n{"SERVICE",-32} {"ADDRESS",-15} {"PORT",-9} MACHINES\n");
        foreach (var s in model.Services)
            text.Append(CultureInfo.InvariantCulture, $"{s.Name,-32} {NetworkModel.TextOf(s.Address),-15} {PortOf(s),-9} {string.Join(' ', s.Backends.Select(b => b.Name))}\n");
        text.Append(CultureInfo.InvariantCulture, $"\n{model.Rules.Count} rules, then {(model.AllowByDefault ? "allow" : "deny")}\n");
        for (int i = 0; i < model.Rules.Count; i++)
            text.Append(CultureInfo.InvariantCulture, $"{i + 1,4} {model.Rules[i]}\n");
        return text.ToString();
    }

    /// <summary>A network as one document.</summary>
    public static void Write(Utf8JsonWriter json, NetworkModel model)
    {
        json.WriteStartObject();
        json.WriteString("name", model.Name);
        json.WriteString("subnet", model.SubnetText);
        json.WriteString("server", NetworkModel.TextOf(model.Plan.Server));
        if (model.Plan.Gateway != 0)
            json.WriteString("gateway", NetworkModel.TextOf(model.Plan.Gateway));
        else
            json.WriteNull("gateway");
        json.WriteStartArray("machines");
        foreach (var machine in model.Machines)
        {
            json.WriteStartObject();
            json.WriteString("name", machine.Name);
            json.WriteString("address", NetworkModel.TextOf(machine.Address));
            json.WriteString("mac", machine.Mac.ToString());
            json.WriteNumber("vlan", machine.Vlan);
            json.WriteBoolean("isolated", machine.Isolated);
            json.WriteString("isolation_group", machine.IsolationGroup);
            json.WriteNumber("weight", machine.Weight);
            WriteTexts(json, "labels", machine.Labels);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartArray("services");
        foreach (var service in model.Services)
        {
            json.WriteStartObject();
            json.WriteString("name", service.Name);
            json.WriteString("address", NetworkModel.TextOf(service.Address));
            json.WriteString("port", PortOf(service));
            json.WriteNumber("target_port", service.TargetPort);
            WriteTexts(json, "machines", service.Backends.Select(b => b.Name));
            json.WriteEndObject();
        }

        json.WriteEndArray();
        WriteTexts(json, "rules", model.Rules.Select(rule => rule.ToString()));
        json.WriteString("default", model.AllowByDefault ? "allow" : "deny");
        json.WriteEndObject();
    }

    private static void WriteTexts(Utf8JsonWriter json, string member, IEnumerable<string> texts)
    {
        json.WriteStartArray(member);
        foreach (string text in texts)
            json.WriteStringValue(text);
        json.WriteEndArray();
    }

    private static string PortOf(VirtualService service) => new PortRange(service.Protocol, service.Port, service.Port).ToString();
}
