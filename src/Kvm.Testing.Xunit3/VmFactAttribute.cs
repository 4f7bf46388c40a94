using System.Reflection;
using System.Runtime.CompilerServices;
using Xunit;
using Xunit.v3;

namespace Kvm.Testing.Xunit3;

/// <summary>
/// A test whose class has a <see cref="VmFixture"/>, or starts guests itself. Where it fails, what the fixture's guest did is kept (<see cref="GuestArtifacts.DefaultFolder"/>); where this host cannot run
/// the guest, it is skipped with the sentence that says why.
/// </summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class VmFactAttribute : FactAttribute, IBeforeAfterTestAttribute
{
    /// <summary>Makes the attribute.</summary>
    /// <param name="sourceFilePath">For the compiler to fill in.</param>
    /// <param name="sourceLineNumber">For the compiler to fill in.</param>
    public VmFactAttribute([CallerFilePath] string? sourceFilePath = null, [CallerLineNumber] int sourceLineNumber = -1)
        : base(sourceFilePath, sourceLineNumber) =>
        SkipExceptions = [typeof(GuestUnavailableException)];

    /// <summary>The test needs KVM to run its guest natively; elsewhere it is skipped with doctor's sentence.</summary>
    public bool RequiresKvm { get; set; }

    /// <inheritdoc/>
    public void Before(MethodInfo methodUnderTest, IXunitTest test) => VmTestRun.Before(RequiresKvm);

    /// <inheritdoc/>
    public void After(MethodInfo methodUnderTest, IXunitTest test) => VmTestRun.After(test);
}

/// <summary>As <see cref="VmFactAttribute"/>, with data.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class VmTheoryAttribute : TheoryAttribute, IBeforeAfterTestAttribute
{
    /// <summary>Makes the attribute.</summary>
    /// <param name="sourceFilePath">For the compiler to fill in.</param>
    /// <param name="sourceLineNumber">For the compiler to fill in.</param>
    public VmTheoryAttribute([CallerFilePath] string? sourceFilePath = null, [CallerLineNumber] int sourceLineNumber = -1)
        : base(sourceFilePath, sourceLineNumber) =>
        SkipExceptions = [typeof(GuestUnavailableException)];

    /// <summary>The test needs KVM to run its guest natively; elsewhere it is skipped with doctor's sentence.</summary>
    public bool RequiresKvm { get; set; }

    /// <inheritdoc/>
    public void Before(MethodInfo methodUnderTest, IXunitTest test) => VmTestRun.Before(RequiresKvm);

    /// <inheritdoc/>
    public void After(MethodInfo methodUnderTest, IXunitTest test) => VmTestRun.After(test);
}
