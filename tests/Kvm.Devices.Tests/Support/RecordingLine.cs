using Kvm.Devices.Interrupts;

namespace Kvm.Devices.Tests.Support;

/// <summary>An interrupt wire that remembers its level and counts its rises.</summary>
internal sealed class RecordingLine : IInterruptLine
{
    public bool Asserted { get; private set; }

    public int Rises { get; private set; }

    public void Set(bool asserted)
    {
        if (asserted && !Asserted)
            Rises++;
        Asserted = asserted;
    }
}
