namespace Kvm.Devices.Net.Switch;

/// <summary>
/// A learning Ethernet switch between ports of one process (IEEE 802.1Q-2018, clause 8, without spanning trees). It has no thread: a frame is put into its receivers' queues by
/// whoever sends it. Nobody waits for anybody: what finds a queue full is dropped and counted. Any thread; allocates nothing for a frame.
/// </summary>
public sealed partial class NetworkSwitch
{
    private readonly Lock _lock = new();
    private readonly TimeProvider _time;
    private readonly long _start;
    private readonly MacTable _table;
    private SwitchPort?[] _all = [];
    private IFramePolicy? _policy;
    private IFrameRewriter? _rewriter;
    private long _moves, _notLearned, _flooded;

    /// <summary>Makes a switch without ports.</summary>
    /// <param name="options">What bounds it.</param>
    /// <param name="time">The clock.</param>
    public NetworkSwitch(SwitchOptions options, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(time);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxPorts, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxAddresses, 2);
        (Options, _time, _start) = (options, time, time.GetTimestamp());
        _table = new MacTable(options.MaxAddresses, options.MaxPorts, options.AgeingTime.Ticks * 100, (ulong)Random.Shared.NextInt64());
    }

    /// <summary>What bounds it.</summary>
    public SwitchOptions Options { get; }

    /// <summary>Who may send what to whom; null is everybody everything. Holds for every frame that is sent from now on.</summary>
    public IFramePolicy? Policy
    {
        get => Volatile.Read(ref _policy);
        set => Volatile.Write(ref _policy, value);
    }

    /// <summary>Changes frames before they are forwarded; null is nobody.</summary>
    public IFrameRewriter? Rewriter
    {
        get => Volatile.Read(ref _rewriter);
        set => Volatile.Write(ref _rewriter, value);
    }

    /// <summary>A port is about to be there: called before anything passes it, so that a policy for it can be set. On the thread of whoever attaches it.</summary>
    public event Action<SwitchPort>? PortAttached;

    /// <summary>A port is gone.</summary>
    public event Action<SwitchPort>? PortDetached;

    /// <summary>The ports that are there now.</summary>
    public IEnumerable<SwitchPort> Ports => All.OfType<SwitchPort>();

    /// <summary>What it knows. Any thread.</summary>
    public SwitchCounters Counters
    {
        get
        {
            lock (_lock)
                return new SwitchCounters(_all.Count(p => p is not null), _table.Count, _moves, _notLearned, Volatile.Read(ref _flooded));
        }
    }

    /// <summary>All ports by their numbers. Never changed in place.</summary>
    internal SwitchPort?[] All => Volatile.Read(ref _all);

    /// <summary>Nanoseconds since the switch was made.</summary>
    internal long Now => _time.GetElapsedTime(_start).Ticks * 100;

    /// <summary>Adds a port.</summary>
    /// <param name="options">How it is set up.</param>
    /// <param name="listener">Told of frames for it.</param>
    /// <param name="why">Why there is none.</param>
    /// <returns>The port, taken off again by <see cref="SwitchPort.Dispose"/>; null where there is no room, or it would be another's double.</returns>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public SwitchPort? TryAttach(PortOptions options, IPortListener listener, out string why)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(listener);
        options.Check();
        SwitchPort port;
        lock (_lock)
        {
            int number = Array.FindIndex(_all, p => p is null);
            if (number < 0)
                number = _all.Length;
            why = number >= Options.MaxPorts ? $"the switch has {Options.MaxPorts} ports, which are all used"
                : options.Role == PortRole.Uplink && Array.Exists(_all, p => p?.Options.Role == PortRole.Uplink) ? "the switch has an uplink"
                : options.Mac is { } mac && !Own(options, mac, number) ? $"the address {mac} belongs to another port"
                : "";
            if (why.Length != 0)
                return null;
            port = new SwitchPort(this, number, options, listener);
            // The number is taken, and nothing passes before the port is announced.
            port.IsGone = true;
            Place(number, port);
        }

        PortAttached?.Invoke(port);
        port.IsGone = false;
        return port;
    }

    /// <summary>The number of the port where an address was last seen; negative if nobody knows.</summary>
    /// <param name="vlan">The VLAN.</param>
    /// <param name="address">The address.</param>
    public int PortOf(int vlan, MacAddress address)
    {
        lock (_lock)
            return _table.Find(vlan, address, Now);
    }

    /// <summary>Takes a port off; once.</summary>
    internal void Detach(SwitchPort port)
    {
        lock (_lock)
        {
            if (port.Number >= _all.Length || _all[port.Number] != port)
                return;
            port.IsGone = true;
            Place(port.Number, null);
            _table.Forget(port.Number);
        }

        PortDetached?.Invoke(port);
    }

    private bool Own(PortOptions options, MacAddress mac, int number)
    {
        // In all its VLANs, or none.
        for (int vlan = 1; vlan <= PortOptions.MaxVlan; vlan++)
        {
            if ((vlan == options.Vlan || options.Trunk is { } trunk && trunk.Contains(vlan)) && !_table.Own(vlan, mac, number, Now))
            {
                _table.Forget(number);
                return false;
            }
        }

        return true;
    }

    private void Place(int number, SwitchPort? port)
    {
        var all = new SwitchPort?[Math.Max(_all.Length, number + 1)];
        _all.CopyTo(all, 0);
        all[number] = port;
        Volatile.Write(ref _all, all);
    }
}
