using System.Text;
using Kvm.Devices.Platform;

namespace Kvm.Devices.Tests.Support;

/// <summary>A sink that keeps what it is given.</summary>
internal sealed class RecordingSink : ISerialSink
{
    private readonly List<byte> _bytes = [];

    public string Text => Encoding.Latin1.GetString([.. _bytes]);

    public void Write(ReadOnlySpan<byte> bytes) => _bytes.AddRange(bytes);
}
