using Kvm.Devices.Net.Policy;

namespace Kvm.Devices.Net.Services;

/// <summary>
/// Who of the machines behind services serves them: attached to the switch, and heard of in the last seconds; of a service by TCP, with an answer to the beginning of a connection
/// at its port. Any thread.
/// </summary>
/// <param name="services">Told of what changes.</param>
/// <param name="time">The clock.</param>
internal sealed class BackendHealth(VirtualServices services, TimeProvider time)
{
    /// <summary>How often each is asked whether it is there, and how long one may be silent.</summary>
    public static readonly TimeSpan AskingTime = TimeSpan.FromSeconds(2), SilentTime = TimeSpan.FromSeconds(7);

    /// <summary>In the place of a port: the machine itself, which serves what is not by TCP.</summary>
    private const ushort Itself = 0;

    private readonly ServiceBackend[] _backends = [.. services.Services.SelectMany(s => s.Backends).DistinctBy(b => b.Name)];
    private readonly (ServiceBackend Backend, ushort Port)[] _ports =
        [.. services.Services.Where(s => s.Protocol == PacketHeaders.Tcp).SelectMany(s => s.Backends, (s, b) => (Backend: b, Port: s.TargetPort)).DistinctBy(p => (p.Backend.Name, p.Port))];

    private readonly Lock _lock = new();
    private readonly HashSet<string> _attached = new(StringComparer.Ordinal);
    private readonly Dictionary<(string Machine, ushort Port), long> _heard = [];

    /// <summary>Who is to be asked: those that are attached.</summary>
    public IReadOnlyList<ServiceBackend> Attached
    {
        get
        {
            lock (_lock)
                return [.. _backends.Where(b => _attached.Contains(b.Name))];
        }
    }

    /// <summary>Where they are to be asked by TCP.</summary>
    public IReadOnlyList<(ServiceBackend Backend, ushort Port)> AttachedPorts
    {
        get
        {
            lock (_lock)
                return [.. _ports.Where(p => _attached.Contains(p.Backend.Name))];
        }
    }

    /// <summary>A machine is at a port, or no more: then it serves nothing from this moment on.</summary>
    public void SetAttached(string machine, bool attached)
    {
        lock (_lock)
        {
            if (attached)
            {
                _attached.Add(machine);
                return;
            }

            _attached.Remove(machine);
            foreach (var key in _heard.Keys.Where(key => key.Machine == machine).ToList())
                _heard.Remove(key);
            services.SetHealth(machine, false);
        }
    }

    /// <summary>Somebody said that an address is its own.</summary>
    public void Heard(uint address, MacAddress mac)
    {
        foreach (var backend in _backends)
        {
            if (backend.Address == address && backend.Mac == mac)
                Note(backend.Name, Itself, true);
        }
    }

    /// <summary>Somebody took or refused a connection at a port.</summary>
    public void Heard(uint address, MacAddress mac, ushort port, bool serves)
    {
        foreach (var (backend, asked) in _ports)
        {
            if (backend.Address == address && backend.Mac == mac && asked == port)
                Note(backend.Name, port, serves);
        }
    }

    /// <summary>Gives up those that were silent for too long.</summary>
    public void Expire()
    {
        lock (_lock)
        {
            foreach (var (machine, port) in _heard.Where(h => time.GetElapsedTime(h.Value) > SilentTime).Select(h => h.Key).ToList())
                Note(machine, port, false);
        }
    }

    private void Note(string machine, ushort port, bool serves)
    {
        lock (_lock)
        {
            if (!_attached.Contains(machine))
                return;
            if (serves)
                _heard[(machine, port)] = time.GetTimestamp();
            else
                _heard.Remove((machine, port));
            services.SetHealth(machine, port == Itself ? PacketHeaders.Udp : PacketHeaders.Tcp, port, serves);
        }
    }
}
