using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Devices.Net.Metadata;
using Kvm.Vmm.Network;
using Kvm.Vmm.Virtio;

namespace Kvm.Vmm.Tests.Network;

/// <summary>The service between a card and a backend that gives back what it is sent.</summary>
public sealed class MetadataBackendTests : IDisposable, INetworkListener
{
    private readonly LoopbackBackend _inner = new();
    private readonly MetadataBackend _backend;
    private readonly AlignedBuffer _buffer = new(2048, 64);
    private int _waiting;

    public MetadataBackendTests()
    {
        var service = new MetadataService(MetadataVersion.V1, plainOnly: false, new HostEntropy(), TimeProvider.System);
        _backend = new MetadataBackend(_inner, service, MetadataNetwork.DefaultAddress, new HostEntropy(), TimeProvider.System);
        _backend.Connect(this);
        _backend.Configure(NetOffloads.None, 1);
    }

    void INetworkListener.FramesWaiting(int pair) => _waiting++;

    void INetworkListener.RoomAgain(int pair)
    {
    }

    void INetworkListener.LinkChanged(bool up)
    {
    }

    public void Dispose()
    {
        _backend.Dispose();
        _inner.Dispose();
        _buffer.Dispose();
    }

    private static byte[] Question(byte last) =>
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0, 0, 0, 1, 10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 169, 254, 169, last];

    private void Send(byte[] frame)
    {
        _buffer.Buffer.Span.Clear();
        frame.CopyTo(_buffer.Buffer.Span[NetHeader.Size..]);
        int length = NetHeader.Size + frame.Length;
        _backend.Send(0, [_buffer.Buffer.Slice(0, length)], length).Should().Be(SendOutcome.Sent);
    }

    [Fact]
    public void Frames_for_the_service_stay_here_and_all_others_go_on()
    {
        Send(Question(254));
        _inner.Peek(0).IsEmpty.Should().BeTrue();
        _waiting.Should().BePositive();
        _backend.Peek(0)[^10..].ToArray().Should().Equal(0x52, 0x54, 0, 0, 0, 1, 10, 0, 2, 15);
        _backend.Take(0);
        _backend.Peek(0).IsEmpty.Should().BeTrue();
        Send(Question(253));
        _backend.Peek(0)[NetHeader.Size..].ToArray().Should().Equal(Question(253));
    }

    [Fact]
    public void Frame_that_was_shown_is_shown_until_it_is_taken()
    {
        Send(Question(253));
        _backend.Peek(0).Length.Should().Be(NetHeader.Size + 42);
        Send(Question(254));
        _backend.Peek(0)[NetHeader.Size..].ToArray().Should().Equal(Question(253), "it was begun");
        _backend.Take(0);
        byte[] answer = _backend.Peek(0).ToArray();
        answer[NetHeader.Size + 21].Should().Be(2, "it is an answer");
        Send(Question(252));
        _backend.Peek(0).ToArray().Should().Equal(answer);
        _backend.Take(0);
        _backend.Peek(0)[NetHeader.Size..].ToArray().Should().Equal(Question(252));
    }

    [Fact]
    public void Counters_are_those_of_both() =>
        _backend.Counters.Select(c => c.Name).Should().Equal("metadataRequests", "metadataRefused", "metadataTokens", "metadataConnections", "metadataEvicted", "metadataDropped");
}
