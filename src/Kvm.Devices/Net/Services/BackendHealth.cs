namespace Kvm.Devices.Net.Services;

/// <summary>Who of the machines behind services is there: attached to the switch, and heard of in the last seconds. Any thread.</summary>
/// <param name="services">Told of what changes.</param>
/// <param name="time">The clock.</param>
internal sealed class BackendHealth(VirtualServices services, TimeProvider time)
{
    /// <summary>How often each is asked whether it is there, and how long one may be silent.</summary>
    public static readonly TimeSpan AskingTime = TimeSpan.FromSeconds(2), SilentTime = TimeSpan.FromSeconds(7);

    private readonly ServiceBackend[] _backends = [.. services.Services.SelectMany(s => s.Backends).DistinctBy(b => b.Name)];
    private readonly Lock _lock = new();
    private readonly HashSet<string> _attached = new(StringComparer.Ordinal);
    private readonly Dictionary<string, long> _heard = new(StringComparer.Ordinal);

    /// <summary>Who is to be asked: those that are attached.</summary>
    public IReadOnlyList<ServiceBackend> Attached
    {
        get
        {
            lock (_lock)
                return [.. _backends.Where(b => _attached.Contains(b.Name))];
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
            _heard.Remove(machine);
            services.SetHealth(machine, false);
        }
    }

    /// <summary>Somebody said that an address is its own.</summary>
    public void Heard(uint address, MacAddress mac)
    {
        foreach (var backend in _backends)
        {
            if (backend.Address != address || backend.Mac != mac)
                continue;
            lock (_lock)
            {
                if (!_attached.Contains(backend.Name))
                    return;
                _heard[backend.Name] = time.GetTimestamp();
                services.SetHealth(backend.Name, true);
            }
        }
    }

    /// <summary>Gives up those that were silent for too long.</summary>
    public void Expire()
    {
        lock (_lock)
        {
            foreach (string machine in _heard.Where(h => time.GetElapsedTime(h.Value) > SilentTime).Select(h => h.Key).ToList())
            {
                _heard.Remove(machine);
                services.SetHealth(machine, false);
            }
        }
    }
}
