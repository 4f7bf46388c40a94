using System.Buffers.Binary;
using Kvm.Devices.Virtio.Queue;

namespace Kvm.Devices.Virtio.Console;

/// <summary>The queues: data and control messages, both ways.</summary>
public sealed partial class ConsoleDevice
{
    /// <summary>Output goes to the sink in pieces of so many bytes at most.</summary>
    private const int MostOutput = 4096;

    /// <summary>Bytes of one output buffer that are looked at; longer ones are cut, as no driver sends them.</summary>
    private const int MostBuffer = 1 << 20;

    /// <inheritdoc/>
    protected override bool OnQueue(int index, VirtQueue queue)
    {
        ArgumentNullException.ThrowIfNull(queue);
        if (index is ControlInput or ControlOutput && !Has(Multiport))
            return false;
        return index switch
        {
            ControlInput => SendControl(index, queue),
            ControlOutput => Drain(index, queue),
            _ when index % 2 == 0 => FillInput(index, queue),
            _ => Drain(index, queue),
        };
    }

    /// <inheritdoc/>
    protected override ChainResult OnChain(int index, VirtQueue queue, ref DescriptorChain chain)
    {
        ArgumentNullException.ThrowIfNull(queue);
        if (index == ControlOutput)
        {
            ReceiveControl(ref chain);
            queue.Complete(chain.Token, 0);
            return ChainResult.Taken;
        }

        int port = PortOf(index);
        var state = _states[port];
        if (!SendOutput(_ports[port].Sink, state, ref chain))
            return ChainResult.Later;
        state.Consumed = 0;
        queue.Complete(chain.Token, 0);
        if (_isSilent)
            HearFirst(port);
        return ChainResult.Taken;
    }

    /// <summary>The driver's console is set up: what was kept for it is told.</summary>
    private void HearFirst(int port)
    {
        _isSilent = false;
        // Linux looks at the size when it is told to, not when it starts.
        if (Has(SizeFeature) && _control.Size.Columns != 0)
            SignalConfig();
        WakeQueue(InputQueue(port));
    }

    /// <summary>Gives a buffer to the sink, from where it stopped taking the last time; false if it stopped again.</summary>
    private static bool SendOutput(IConsoleSink sink, PortState state, ref DescriptorChain chain)
    {
        int seen = 0;
        while (seen < MostBuffer && chain.TryReadPiece(MostOutput, out var piece))
        {
            int skip = Math.Min(piece.Length, Math.Max(0, state.Consumed - seen));
            var rest = piece.Span[skip..];
            int taken = rest.IsEmpty ? 0 : Math.Clamp(sink.Write(rest), 0, rest.Length);
            Volatile.Write(ref state.Sent, state.Sent + taken);
            if (taken < rest.Length)
            {
                state.Consumed = seen + skip + taken;
                return false;
            }

            seen += piece.Length;
        }

        return true;
    }

    /// <summary>Puts waiting input into the driver's buffers, one as full as there is input.</summary>
    private bool FillInput(int index, VirtQueue queue)
    {
        int port = PortOf(index), budget = queue.Size;
        var state = _states[port];
        bool space = false;
        queue.DisableNotifications();
        do
        {
            while (budget > 0 && HasInput(state) && queue.TryPop(out var chain))
            {
                budget--;
                queue.Complete(chain.Token, MoveInput(state, ref chain));
                space = true;
            }
        }
        // Without input there is nothing to be notified of: the next input looks by itself.
        while (budget > 0 && HasInput(state) && queue.EnableNotifications());

        Publish(index, queue);
        if (space && TakeRefusal(state))
            InputSpaceAvailable?.Invoke(port);
        return budget == 0;
    }

    /// <summary>Input for a driver that takes it: Linux throws away what comes before it has said that a port is open.</summary>
    private bool HasInput(PortState state)
    {
        lock (_portLock)
            return state.Input.Count > 0 && (Has(Multiport) ? state.GuestOpen : !_isSilent);
    }

    private bool TakeRefusal(PortState state)
    {
        lock (_portLock)
        {
            bool refused = state.InputRefused;
            state.InputRefused = false;
            return refused;
        }
    }

    private uint MoveInput(PortState state, ref DescriptorChain chain)
    {
        Span<byte> bytes = stackalloc byte[512];
        uint moved = 0;
        lock (_portLock)
        {
            while (state.Input.CopyTo(bytes) is > 0 and var count)
            {
                int written = chain.Write(bytes[..count]);
                state.Input.Drop(written);
                moved += (uint)written;
                if (written < count)
                    break;
            }
        }

        Volatile.Write(ref state.Received, state.Received + moved);
        return moved;
    }

    /// <summary>Sends waiting control messages, one to a buffer. A buffer too small for its message loses the end of it.</summary>
    private bool SendControl(int index, VirtQueue queue)
    {
        Span<byte> message = stackalloc byte[ConsoleControl.MostBytes];
        int budget = queue.Size;
        queue.DisableNotifications();
        do
        {
            while (budget > 0 && HasControl() && queue.TryPop(out var chain))
            {
                budget--;
                int length;
                lock (_portLock)
                    length = _control.Take(message);
                queue.Complete(chain.Token, (uint)chain.Write(message[..length]));
            }
        }
        while (budget > 0 && HasControl() && queue.EnableNotifications());

        Publish(index, queue);
        return budget == 0;
    }

    private bool HasControl()
    {
        lock (_portLock)
            return _control.HasWaiting;
    }

    /// <summary>A message of the driver (5.3.6.2): ports that do not exist and messages that are not a driver's are passed over.</summary>
    private void ReceiveControl(ref DescriptorChain chain)
    {
        Span<byte> message = stackalloc byte[ConsoleControl.HeaderSize];
        if (chain.Read(message) != message.Length)
            return;
        uint port = BinaryPrimitives.ReadUInt32LittleEndian(message);
        var kind = (ConsoleEvent)BinaryPrimitives.ReadUInt16LittleEndian(message[4..]);
        bool value = BinaryPrimitives.ReadUInt16LittleEndian(message[6..]) != 0;
        if (kind == ConsoleEvent.DeviceReady)
        {
            if (value)
                AnnouncePorts();
        }
        else if (port < (uint)_ports.Length && kind == ConsoleEvent.PortReady && value)
        {
            lock (_portLock)
                _control.Describe((int)port);
        }
        else if (port < (uint)_ports.Length && kind == ConsoleEvent.PortOpen)
        {
            SetGuestOpen((int)port, value);
        }

        WakeQueue(ControlInput);
    }

    private void AnnouncePorts()
    {
        lock (_portLock)
        {
            for (int port = 0; port < _ports.Length; port++)
                _control.Send(port, ConsoleEvent.PortAdd);
        }
    }
}
