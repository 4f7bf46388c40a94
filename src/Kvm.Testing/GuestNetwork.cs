using System.Globalization;
using System.Net;
using System.Text.Json;
using Kvm.Vmm.Network;
using Kvm.Vmm.Network.Model;

namespace Kvm.Testing;

/// <summary>
/// A network of guests: a switch of this process with DHCP, names and addresses of its own, which no other network and not the host can reach. Guests are at it by
/// <see cref="GuestOptions.Network"/>, have the addresses it gives them from their start on, and reach each other by their names. Any thread.
/// </summary>
public sealed class GuestNetwork : IDisposable
{
    private static int _count;

    private readonly Lock _gate = new();
    private readonly string _name;
    private readonly string _subnet;
    private readonly IReadOnlyList<string> _machines;
    private readonly RunningNetwork _network;
    private readonly HashSet<(string, string)> _cuts = [];
    private volatile string? _fault;

    private GuestNetwork(IReadOnlyList<string> machines)
    {
        int number = Interlocked.Increment(ref _count);
        _machines = machines;
        _name = string.Create(CultureInfo.InvariantCulture, $"test-{Environment.ProcessId}-{number}");
        // 10.64.0.0/10, a subnet of 256 addresses for each network: those of one process must have none in common.
        _subnet = string.Create(CultureInfo.InvariantCulture, $"10.{64 + number / 256 % 64}.{number % 256}.0/24");
        ModelPath = RunFolder.NewPath("net");
        File.WriteAllBytes(ModelPath, Describe());
        _network = RunningNetwork.Serve(NetworkModel.Load(ModelPath), message => _fault = message, notice: null);
    }

    /// <summary>Makes a network of these guests.</summary>
    /// <param name="names">The names of guests, 2 to 250: lower-case letters, digits and dashes.</param>
    /// <exception cref="Kvm.Vmm.VmmException">A name cannot be one.</exception>
    public static GuestNetwork Of(params string[] names)
    {
        ArgumentNullException.ThrowIfNull(names);
        return new GuestNetwork(names);
    }

    /// <summary>The file that describes it.</summary>
    internal string ModelPath { get; }

    /// <summary>The address of a guest.</summary>
    /// <param name="name">One of the names it was made of.</param>
    public IPAddress AddressOf(string name)
    {
        var machine = _network.Model.Machines.FirstOrDefault(m => m.Name == name) ?? throw new ArgumentException($"the network has no guest {name}; it has {string.Join(", ", _machines)}");
        return IPAddress.Parse(NetworkModel.TextOf(machine.Address));
    }

    /// <summary>Nothing passes between two guests from now on, connections that are there included: their frames are lost on the way.</summary>
    /// <param name="one">A guest's name.</param>
    /// <param name="other">Another's.</param>
    public void Cut(string one, string other) => Change(() => _cuts.Add(Pair(one, other)));

    /// <summary>Everything passes between them again.</summary>
    /// <param name="one">A guest's name.</param>
    /// <param name="other">Another's.</param>
    public void Mend(string one, string other) => Change(() => _cuts.Remove(Pair(one, other)));

    /// <summary>Everything passes between all.</summary>
    public void MendAll() => Change(_cuts.Clear);

    /// <summary>Ends the network; guests that are still there are unplugged.</summary>
    public void Dispose()
    {
        _network.Dispose();
        File.Delete(ModelPath);
    }

    /// <summary>A card at this network.</summary>
    internal NetConfig Card(string name)
    {
        if (!_machines.Contains(name))
            throw new ArgumentException($"the network has no guest {name}; it has {string.Join(", ", _machines)}");
        return new NetConfig { Kind = NetKind.Switch, Model = ModelPath };
    }

    private (string, string) Pair(string one, string other)
    {
        _ = (AddressOf(one), AddressOf(other));
        return string.CompareOrdinal(one, other) < 0 ? (one, other) : (other, one);
    }

    private void Change(Action change)
    {
        lock (_gate)
        {
            if (_fault is { } fault)
                throw new GuestException($"the network has failed: {fault}");
            change();
            _network.ChangeRules(NetworkModel.Parse(Describe(), ModelPath));
        }
    }

    private byte[] Describe()
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteString("name", _name);
            json.WriteString("subnet", _subnet);
            json.WriteString("domain", "test");
            json.WriteStartArray("machines");
            foreach (string machine in _machines)
            {
                json.WriteStartObject();
                json.WriteString("name", machine);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteStartArray("rules");
            foreach (var (one, other) in _cuts.Order())
            {
                json.WriteStringValue($"deny from vm={one} to vm={other}");
                json.WriteStringValue($"deny from vm={other} to vm={one}");
            }

            json.WriteStringValue("allow from any to any");
            json.WriteEndArray();
            json.WriteEndObject();
        }

        return buffer.ToArray();
    }
}
