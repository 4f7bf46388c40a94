using System.Buffers.Binary;
using System.Numerics;
using System.Text;

namespace Kvm.Devices.Virtio.Console;

/// <summary>Kinds of control message (virtio 1.2, 5.3.6.2).</summary>
internal enum ConsoleEvent : ushort
{
    DeviceReady = 0,
    PortAdd = 1,
    PortRemove = 2,
    PortReady = 3,
    ConsolePort = 4,
    Resize = 5,
    PortOpen = 6,
    PortName = 7,
}

/// <summary>
/// What the device has still to tell the driver of each port, as bits rather than a list: however often a driver asks, a message waits once.
/// Not thread-safe: used under the device's port lock.
/// </summary>
/// <param name="ports">The ports.</param>
internal sealed class ConsoleControl(IReadOnlyList<ConsolePort> ports)
{
    /// <summary>Bytes of a message without what follows it.</summary>
    public const int HeaderSize = 8;

    /// <summary>Bytes of the longest message: a name's.</summary>
    public const int MostBytes = HeaderSize + MostName;

    /// <summary>Bytes of the longest name.</summary>
    public const int MostName = 64;

    // In the order they are sent: a port is added before it is named, and opened last.
    private static readonly ConsoleEvent[] Order = [ConsoleEvent.PortAdd, ConsoleEvent.ConsolePort, ConsoleEvent.PortName, ConsoleEvent.Resize, ConsoleEvent.PortOpen];

    private readonly uint[] _waiting = new uint[ports.Count];
    private readonly bool[] _open = new bool[ports.Count];
    private readonly byte[][] _names = [.. ports.Select(p => Encoding.UTF8.GetBytes(p.Name))];

    /// <summary>Columns and rows of the console.</summary>
    public (ushort Columns, ushort Rows) Size { get; set; }

    /// <summary>True if a message waits.</summary>
    public bool HasWaiting => Array.Exists(_waiting, bits => bits != 0);

    /// <summary>Forgets everything but the host's ends: a driver starts anew.</summary>
    public void Clear() => Array.Clear(_waiting);

    /// <summary>Lets a message wait to be sent.</summary>
    public void Send(int port, ConsoleEvent message) => _waiting[port] |= 1u << (int)message;

    /// <summary>The host's end of a port is open or not.</summary>
    public void SetOpen(int port, bool open) => _open[port] = open;

    /// <summary>True if the host's end of a port is open.</summary>
    public bool IsOpen(int port) => _open[port];

    /// <summary>A driver is ready for a port: what it has to know of it.</summary>
    public void Describe(int port)
    {
        if (ports[port].IsConsole)
        {
            Send(port, ConsoleEvent.ConsolePort);
            if (Size != default)
                Send(port, ConsoleEvent.Resize);
        }

        if (_names[port].Length > 0)
            Send(port, ConsoleEvent.PortName);
        if (_open[port])
            Send(port, ConsoleEvent.PortOpen);
    }

    /// <summary>Takes the next message.</summary>
    /// <param name="to">At least <see cref="MostBytes"/>.</param>
    /// <returns>Its bytes; 0 if none waits.</returns>
    public int Take(Span<byte> to)
    {
        // Messages of one kind for all ports before the next kind.
        foreach (var message in Order)
        {
            for (int port = 0; port < _waiting.Length; port++)
            {
                if ((_waiting[port] & 1u << (int)message) == 0)
                    continue;
                _waiting[port] &= ~(1u << (int)message);
                return Write(to, port, message);
            }
        }

        return 0;
    }

    private int Write(Span<byte> to, int port, ConsoleEvent message)
    {
        BinaryPrimitives.WriteInt32LittleEndian(to, port);
        BinaryPrimitives.WriteUInt16LittleEndian(to[4..], (ushort)message);
        ushort value = message switch
        {
            ConsoleEvent.ConsolePort or ConsoleEvent.PortName => 1,
            ConsoleEvent.PortOpen => _open[port] ? (ushort)1 : (ushort)0,
            _ => 0,
        };
        BinaryPrimitives.WriteUInt16LittleEndian(to[6..], value);
        switch (message)
        {
            case ConsoleEvent.PortName:
                _names[port].CopyTo(to[HeaderSize..]);
                return HeaderSize + _names[port].Length;
            case ConsoleEvent.Resize:
                BinaryPrimitives.WriteUInt16LittleEndian(to[HeaderSize..], Size.Columns);
                BinaryPrimitives.WriteUInt16LittleEndian(to[(HeaderSize + 2)..], Size.Rows);
                return HeaderSize + 4;
            default:
                return HeaderSize;
        }
    }

    /// <summary>A port's waiting messages, for a snapshot.</summary>
    public uint Waiting(int port) => _waiting[port];

    /// <summary>Sets a port's waiting messages; false if some cannot wait.</summary>
    public static bool CanWait(uint bits)
    {
        foreach (var message in Order)
            bits &= ~(1u << (int)message);
        return BitOperations.PopCount(bits) == 0;
    }

    /// <summary>Puts waiting messages back.</summary>
    public void RestoreWaiting(int port, uint bits) => _waiting[port] = bits;
}
