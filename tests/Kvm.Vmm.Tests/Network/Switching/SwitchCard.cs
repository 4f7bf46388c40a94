using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Switch;
using Kvm.Interop;
using Kvm.Vmm.Network;
using Kvm.Vmm.Network.Switching;

namespace Kvm.Vmm.Tests.Network.Switching;

/// <summary>A card on a switch, as its thread sees it: frames are waited for by what the backend signals.</summary>
internal sealed class SwitchCard : INetworkListener, IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private readonly EventFd _bell = new();
    private readonly Epoll _epoll = new();
    private readonly EpollWait _wait;

    public SwitchCard(INetworkBackend backend, int number)
    {
        (Backend, Number, _wait) = (backend, number, new EpollWait(_epoll, 1));
        _epoll.Add(_bell.Handle.Fd, EpollEvents.In, 0);
        backend.Connect(this);
        backend.Configure(NetOffloads.Modern, 1);
        (backend as SwitchBackend)?.WatchBy(0, _wait);
    }

    public INetworkBackend Backend { get; }

    public int Number { get; }

    public MacAddress Mac => MacOf(Number);

    public List<bool> Links { get; } = [];

    public static MacAddress MacOf(int number) => new(0x5254_0000_0100 + (ulong)number);

    /// <summary>A card on a switch, with settings as the command line has them.</summary>
    public static SwitchCard Join(SwitchRegistry process, string name, int number, string settings = "")
    {
        NetConfig.Parse($"switch={name}{settings}", out var net).Should().BeNull();
        return new SwitchCard(process.Join(name, net.Port.Allowing(net.AllowHost), net.FixedMac ? MacOf(number) : null, message => throw new InvalidOperationException(message), null), number);
    }

    /// <summary>Sends a text to a card, or to all by number 0.</summary>
    public SendOutcome Send(int to, string text) => Send(to == 0 ? MacAddress.Broadcast : MacOf(to), text);

    public SendOutcome Send(MacAddress to, string text, in NetHeader header = default)
    {
        using var buffer = new AlignedBuffer(NetHeader.Size + 14 + text.Length);
        var frame = buffer.Buffer.Span;
        header.Write(frame);
        to.Write(frame[NetHeader.Size..]);
        Mac.Write(frame[(NetHeader.Size + 6)..]);
        (frame[NetHeader.Size + 12], frame[NetHeader.Size + 13]) = (0x88, 0xb5);
        System.Text.Encoding.Latin1.GetBytes(text, frame[(NetHeader.Size + 14)..]);
        return Backend.Send(0, [buffer.Buffer], buffer.Length);
    }

    /// <summary>The next frame's text, headers left away.</summary>
    public string Receive() => System.Text.Encoding.Latin1.GetString(ReceiveFrame().AsSpan(NetHeader.Size + 14));

    /// <summary>The next frame, as it comes.</summary>
    public byte[] ReceiveFrame()
    {
        byte[]? frame = null;
        Until(() => (frame = Take()) is not null, "a frame came");
        return frame!;
    }

    /// <summary>The frame that is there, or null.</summary>
    public byte[]? Take()
    {
        Look(0);
        var frame = Backend.Peek(0);
        if (frame.IsEmpty)
            return null;
        byte[] taken = frame.ToArray();
        Backend.Take(0);
        return taken;
    }

    /// <summary>Looks whenever something was signalled, and now and then.</summary>
    public void Until(Func<bool> isSo, string because)
    {
        long end = Environment.TickCount64 + (long)s_patience.TotalMilliseconds;
        while (!isSo())
        {
            (Environment.TickCount64 < end).Should().BeTrue(because);
            Look(100);
        }
    }

    private void Look(int milliseconds)
    {
        if (_epoll.Wait(new EpollEvent[4], milliseconds) > 0)
            _wait.Note();
        _bell.Drain();
    }

    /// <summary>How often it was told of frames.</summary>
    public int Told { get; private set; }

    public void FramesWaiting(int pair)
    {
        Told++;
        _bell.Signal();
    }

    public void RoomAgain(int pair) => _bell.Signal();

    public void LinkChanged(bool up)
    {
        lock (Links)
            Links.Add(up);
        _bell.Signal();
    }

    public void Dispose()
    {
        Backend.Dispose();
        _epoll.Dispose();
        _bell.Dispose();
    }
}
