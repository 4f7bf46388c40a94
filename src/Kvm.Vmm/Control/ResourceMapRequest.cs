using System.Globalization;
using System.Text.Json;
using Kvm.Devices.Memory;
using Kvm.Vmm.Host;
using Kvm.Vmm.Viewing;

namespace Kvm.Vmm.Control;

/// <summary>
/// <c>map</c>: every virtual resource with what backs it. <c>vcpus</c>: <c>index</c>, <c>thread</c>, <c>cpu</c> of the host it ran on last, <c>runs</c>, <c>cpuMs</c>;
/// <c>memory</c>: guest addresses, ascending, and what is there; <c>slots</c>: guest addresses and the host's behind them; <c>devices</c>: what each is
/// connected to, and by which descriptors; <c>descriptors</c>: all that the process has open.
/// </summary>
internal sealed class ResourceMapRequest : IControlRequest
{
    public string Name => "map";

    public string Form => "map";

    public ControlReply? Begin(ControlTarget target, IReadOnlyList<string> words) => words.Count > 0 ? null : new ControlAnswer(json => Write(json, target.Machine));

    private static void Write(Utf8JsonWriter json, VirtualMachine machine)
    {
        json.WriteStartArray("vcpus");
        foreach (var vcpu in machine.Vcpus)
        {
            json.WriteStartObject();
            json.WriteNumber("index", vcpu.Index);
            json.WriteNumber("thread", vcpu.ThreadId);
            if (ThreadInfo.Place(vcpu.ThreadId) is var (cpu, runs))
            {
                json.WriteNumber("cpu", cpu);
                json.WriteBoolean("runs", runs);
            }

            json.WriteNumber("cpuMs", Math.Round(vcpu.CpuTime.TotalMilliseconds, 3));
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WritePropertyName("memory");
        MachineView.WriteMemoryMap(json, machine.Config);
        WriteSlots(json, machine.Memory.Regions);
        json.WriteNumber("guestResidentBytes", machine.GuestResidentBytes);
        var descriptors = OpenDescriptors.Own();
        WriteDevices(json, machine.Config, descriptors);
        json.WriteStartArray("descriptors");
        foreach (var (number, file) in descriptors)
        {
            json.WriteStartObject();
            json.WriteNumber("number", number);
            json.WriteString("file", file);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void WriteSlots(Utf8JsonWriter json, ReadOnlySpan<GuestRegion> regions)
    {
        json.WriteStartArray("slots");
        for (int i = 0; i < regions.Length; i++)
        {
            json.WriteStartObject();
            json.WriteNumber("slot", i);
            json.WriteString("start", Hex(regions[i].Start));
            json.WriteNumber("bytes", regions[i].Size);
            json.WriteString("host", Hex((ulong)regions[i].Host));
            json.WriteBoolean("readOnly", regions[i].ReadOnly);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void WriteDevices(Utf8JsonWriter json, VmConfig machine, IReadOnlyList<(int Number, string File)> descriptors)
    {
        json.WriteStartArray("devices");
        for (int i = 0; i < machine.Disks.Count; i++)
            WriteDevice(json, $"disk{i}", machine.Disks[i].Path, descriptors);
        for (int i = 0; i < machine.Networks.Count; i++)
            WriteDevice(json, $"net{i}", machine.Networks[i].BackendText, descriptors);
        for (int i = 0; i < machine.Ports.Count; i++)
            WriteDevice(json, $"port {machine.Ports[i].Name}", machine.Ports[i].SocketPath, descriptors);
        if (machine.Vsock is { } vsock)
            WriteDevice(json, $"vsock {vsock.Cid.ToString(CultureInfo.InvariantCulture)}", vsock.SocketPath, descriptors);
        json.WriteEndArray();
    }

    private static void WriteDevice(Utf8JsonWriter json, string name, string peer, IReadOnlyList<(int Number, string File)> descriptors)
    {
        json.WriteStartObject();
        json.WriteString("name", name);
        json.WriteString("peer", peer);
        json.WriteStartArray("descriptors");
        foreach (var (number, file) in descriptors)
        {
            if (file == peer || (peer.StartsWith("tap=", StringComparison.Ordinal) && file == "/dev/net/tun"))
                json.WriteNumberValue(number);
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static string Hex(ulong address) => string.Create(CultureInfo.InvariantCulture, $"0x{address:x}");
}
